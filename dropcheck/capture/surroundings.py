"""What a capture needs around it, put back when it ends."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dropcheck.capture.replica import random_state_kept, recursion_allowed

_WATCHED = 2
"""How much deeper calls nest in a model that is watched."""


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Random numbers as they were, no threads, no compilers, no warnings, and room for deeper calls."""
    quietly = warnings.catch_warnings()
    with random_state_kept(), _one_thread(), _eager(model), _unscripted(), recursion_allowed(_WATCHED), quietly:
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """The tensors are small: handing them out to threads costs more than it saves, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """Compiled modules run as they were written."""
    if not any(hasattr(module, "_orig_mod") for module in model.modules()):
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _unscripted() -> Iterator[None]:
    """Functions compiled by ``torch.jit.script`` run as the Python they were written in, which can be watched."""
    compiled = torch.jit.ScriptFunction
    call = compiled.__call__

    def as_written(function: Any, *args: Any, **kwargs: Any) -> Any:
        written = getattr(function, "_torchdynamo_inline", None)  # a traced function has none
        return call(function, *args, **kwargs) if written is None else written(*args, **kwargs)

    compiled.__call__ = as_written  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        compiled.__call__ = call  # type: ignore[method-assign]
