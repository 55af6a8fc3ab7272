"""What a model is run on, and for how long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils._pytree import tree_map


@dataclass(frozen=True, slots=True)
class ExampleInput:
    """Arguments for forward, and how reports name them (``2x3x32x32``). ``given``: by the user, not guessed."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    spec: str | None = None
    given: bool = False

    @property
    def on_meta(self) -> ExampleInput:
        """The same without memory behind its tensors."""
        args, kwargs = tree_map(
            lambda item: item.to("meta") if isinstance(item, torch.Tensor) else item, (self.args, dict(self.kwargs))
        )
        return replace(self, args=args, kwargs=kwargs)


class OverBudget(Exception):
    """A run took longer, or more memory, than it may."""


class Budget:
    """How long a run may take: ``seconds`` from now, None for as long as it likes."""

    def __init__(self, seconds: float | None = None) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raises OverBudget once the time is up."""
        if self.end is not None and time.monotonic() > self.end:
            raise OverBudget("a run takes too long")
