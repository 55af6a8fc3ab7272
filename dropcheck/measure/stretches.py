"""Stretches: what was done to a weight layer's output on the way to the next norm, replayable on changed values of it.

Only what keeps samples and channels apart can be part of a stretch: then each channel of a norm's input depends on
one channel of the weight layer's output, and two numbers per channel (shift and scale) decide its moments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from dropcheck import ops
from dropcheck.capture.names import writes_its_argument

Step = Callable[[Tensor, slice], Tensor]
"""Applies one operation to the rows of a tensor that the slice selects."""

_ELEMENTWISE = (ops.Activation, ops.Scale, ops.Add, ops.Multiply)
_WITHOUT_SIZES = {"flatten", "squeeze", "unsqueeze", "pad", "nearest", "nearest-exact"}
"""Rearrangements whose arguments do not name the batch size."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A weight layer's output ``root`` and the steps taken since.

    ``gain`` is E[mask²] of the masks met, as long as they have mean 1 and nothing else was met; None afterwards.
    """

    root: Tensor
    steps: tuple[Step, ...] = ()
    gain: float | None = 1.0

    def then(self, step: Step, gain: float | None = None) -> Stretch:
        """The stretch with one more step."""
        return Stretch(self.root, (*self.steps, step), None if gain is None or self.gain is None else self.gain * gain)

    def replay(self, values: Tensor, rows: slice) -> Tensor:
        """What becomes of ``values`` in place of those rows of the root."""
        for step in self.steps:
            values = step(values, rows)
        return values


def can_follow(op: ops.Op | None, x: Tensor, out: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether an operation that made ``out`` of ``x`` (and ``others``) keeps its samples and channels apart."""
    if x.dim() < 2 or out.dim() < 2 or out.shape[:2] != x.shape[:2]:
        return False
    if isinstance(op, ops.Rearrange):
        return op.kind in _WITHOUT_SIZES
    if isinstance(op, ops.Pool | ops.Resample):
        return not others
    return isinstance(op, _ELEMENTWISE) and out.shape == x.shape


def step_of(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], x: Tensor) -> Step:
    """The call as a step on ``x``; other arguments with the same samples go along row by row."""
    samples = x.shape[0]
    copies_first = writes_in_place(func, args, kwargs)

    def step(values: Tensor, rows: slice) -> Tensor:
        def moved(argument: Any) -> Any:
            if argument is x:
                return values.clone() if copies_first else values
            if isinstance(argument, Tensor) and argument.dim() > 0 and argument.shape[0] == samples:
                return argument[rows]
            return argument

        result: Tensor = func(*map(moved, args), **{name: moved(argument) for name, argument in kwargs.items()})
        return result

    return step


def writes_in_place(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the call changes its first argument: ``relu_``, ``+=``, ``F.relu(x, inplace=True)``."""
    if writes_its_argument(func):
        return True
    position = _inplace_position(func)
    return kwargs.get("inplace") is True or (position is not None and len(args) > position and args[position] is True)


@cache
def _inplace_position(func: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(func).parameters)
    except (TypeError, ValueError):  # builtins have none
        return None
    return names.index("inplace") if "inplace" in names else None
