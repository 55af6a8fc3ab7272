"""Which models were given weights while their file was imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from dropcheck.load.checkpoint import Recalibrated, mark_of
from dropcheck.load.weights import DISPENSABLE


@contextmanager
def loaded_models() -> Iterator[WeakKeyDictionary[nn.Module, Recalibrated | None]]:
    """While open, collects the modules whose ``load_state_dict`` is called and finds all that it needs,
    with the mark of recalibration on the state dict.

    What a module holds besides may be anything: initialisation is left out while a file is imported.
    """
    whole: WeakKeyDictionary[nn.Module, Recalibrated | None] = WeakKeyDictionary()
    load_state_dict = nn.Module.load_state_dict

    @wraps(load_state_dict)
    def noted(self: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        result = load_state_dict(self, state_dict, *args, **kwargs)
        if all(key.endswith(DISPENSABLE) for key in result.missing_keys):
            whole[self] = mark_of(state_dict)
        return result

    nn.Module.load_state_dict = noted  # type: ignore[method-assign]
    try:
        yield whole
    finally:
        nn.Module.load_state_dict = load_state_dict  # type: ignore[method-assign]
