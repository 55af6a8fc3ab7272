"""Stretches: what was done to a weight layer's output on the way to the next norm, replayable on changed values of it.

Only what keeps samples and channels apart can be part of a stretch: then each channel of a norm's input depends on
one channel of the weight layer's output, and two numbers per channel (shift and scale) decide its moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dropcheck import ops
from dropcheck.simulate.called import Called

Step = Callable[[Tensor, slice], Tensor]
"""Applies one operation to the rows of a tensor that the slice selects."""

_ELEMENTWISE = (ops.Activation, ops.Scale, ops.Add, ops.Multiply)
_WITHOUT_SIZES = {"flatten", "squeeze", "unsqueeze", "pad", "nearest", "nearest-exact"}
"""Rearrangements whose arguments do not name the batch size."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A weight layer's output ``root``, the ``steps`` taken since, and behind them ``masks`` of mean 1.

    ``gain`` is E[mask²] of all the masks together.
    """

    root: Tensor
    steps: tuple[Step, ...] = ()
    masks: tuple[Step, ...] = ()
    gain: float = 1.0

    def then(self, step: Step, gain: float | None = None) -> Stretch:
        """The stretch with one more step; ``gain`` if that is a mask of mean 1."""
        if gain is None:
            return Stretch(self.root, (*self.steps, *self.masks, step))
        return Stretch(self.root, self.steps, (*self.masks, step), self.gain * gain)

    def replay(self, values: Tensor, rows: slice) -> Tensor:
        """What becomes of ``values`` in place of those rows of the root."""
        for step in (*self.steps, *self.masks):
            values = step(values, rows)
        return values

    @property
    def without_masks(self) -> Stretch:
        return Stretch(self.root, self.steps)

    def masked(self, values: Tensor) -> Tensor:
        """The masks laid on ``values``, which are as long as the root."""
        return Stretch(self.root, self.masks).replay(values, slice(None))


def keeps_channels(op: ops.Op | None, x: Tensor, out: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether an operation that made ``out`` of ``x`` (and ``others``) keeps its samples and channels apart."""
    if x.dim() < 2 or out.dim() < 2 or out.shape[:2] != x.shape[:2]:
        return False
    if isinstance(op, ops.Rearrange):
        return op.kind in _WITHOUT_SIZES
    if isinstance(op, ops.Pool | ops.Resample):
        return not others
    return isinstance(op, _ELEMENTWISE) and out.shape == x.shape


def step_of(call: Called, x: Tensor) -> Step:
    """The call as a step on ``x``; other arguments with the same samples go along row by row."""
    samples, writes = x.shape[0], call.writes

    def step(values: Tensor, rows: slice) -> Tensor:
        def moved(argument: Any) -> Any:
            if argument is x:
                return values.clone() if writes else values
            if isinstance(argument, Tensor) and argument.dim() > 0 and argument.shape[0] == samples:
                return argument[rows]
            return argument

        kwargs = {name: moved(argument) for name, argument in call.kwargs.items()}
        result: Tensor = call.func(*map(moved, call.args), **kwargs)
        return result

    return step
