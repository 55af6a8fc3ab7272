"""Dropout written by hand, recognised by its data flow: an activation times a mask of random numbers.

What is made of random numbers and constants alone is followed as a population, so the drop rate of a mask is that of
its definition, to 1 / SIZE, and the same in every run. A mask computed from activations has no population, and is no
dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dropcheck import ops
from dropcheck.capture.calls import Call, Value, training_argument
from dropcheck.capture.populations import (
    ALL_KEPT,
    ELEMENTWISE,
    PUT_TOGETHER,
    SIZE,
    Draw,
    evenly_spread,
    filled,
    generated,
    joint,
    rearranged,
    reduced,
    side_by_side,
)
from dropcheck.ops import Granularity, Op

_DIGITS = 4
_NO_MEAN = 1e-6
"""E[a]² / E[a²] below which a random factor has no mean that evaluation could use instead: it is no dropout."""


class Masks:
    """Follows random numbers and constants through the calls of a model."""

    def __init__(self) -> None:
        self._draws: dict[int, Draw] = {}
        self._generators = 0

    def rename(self, index: int, call: Call) -> None:
        """A call that only gives its first argument another name."""
        first = next(call.tensors(), None)
        draw = None if first is None else self._of(first)
        if draw is not None:
            population = draw.population
            numbers = population.double() if population.dtype is torch.bool else population  # it may be a cast
            self._draws[index] = replace(draw, population=numbers)

    def note(self, index: int, call: Call, op: Op) -> None:
        """A call that does not depend on the model's input."""
        draw = self._draw(call, op)
        if draw is not None:
            self._draws[index] = draw

    def is_uniform(self, index: int | None) -> bool:
        """Whether the result of a call holds one known number throughout: fresh ones, the mean of many draws."""
        draw = None if index is None else self._draws.get(index)
        return draw is not None and draw.population.dim() == 0

    def factor(self, call: Call) -> Draw | None:
        """What is known of the mask, if all that the call does is multiply an activation by it."""
        tensors = list(call.tensors())
        drawn = [(value, draw) for value in tensors if (draw := self._of(value)) is not None and draw.population.dim()]
        if len(drawn) != 1:
            return None
        mask, draw = drawn[0]
        match call.target:
            case "mul" | "multiply" if len(tensors) == 2:
                return draw
            case "masked_fill" if self._number(call.argument(2, "value")) == 0.0:
                return replace(draw, population=1.0 - draw.population.double())
            case "where" if mask is call.argument(0, "condition"):
                chosen, otherwise = (self._number(call.argument(at, name)) for at, name in ((1, "input"), (2, "other")))
                if otherwise == 0.0 and chosen is None:
                    return draw
                if chosen == 0.0 and otherwise is None:
                    return replace(draw, population=1.0 - draw.population.double())
        return None

    def _number(self, argument: Any) -> float | None:
        """The number that an argument is, or that fills it."""
        if isinstance(argument, Value):
            draw = self._of(argument)
            return float(draw.population) if draw is not None and draw.population.dim() == 0 else None
        return float(argument) if isinstance(argument, int | float) else None

    def _of(self, value: Value) -> Draw | None:
        return None if value.call is None else self._draws.get(value.call)

    # Where populations come from -------------------------------------------------------------------------------

    def _draw(self, call: Call, op: Op) -> Draw | None:
        if isinstance(op, ops.Dropout):
            return self._dropped(call, op)
        if isinstance(op, ops.Constant) and op.random:
            population = generated(call, self._evenly(), self._number)
            return None if population is None else Draw(population, call.shape, call.random_in_eval)
        if isinstance(op, ops.Constant):
            number = filled(call)
            return None if number is None else Draw(torch.tensor(float(number), dtype=torch.float64))
        return self._derived(call, op)

    def _evenly(self) -> Tensor:
        self._generators += 1
        return evenly_spread(self._generators)

    def _dropped(self, call: Call, op: ops.Dropout) -> Draw | None:
        """Dropout of a tensor whose elements are all the same number."""
        whole = next(map(self._of, call.tensors()), None)
        if whole is None or whole.population.dim() or op.alpha or op.drop_rate >= 1.0:
            return None
        keep = 1.0 - op.drop_rate
        return Draw((self._evenly() < keep).double() / keep * whole.population, call.shape, call.random_in_eval)

    def _derived(self, call: Call, op: Op) -> Draw | None:
        """What comes of random numbers and constants."""
        sources = [self._of(value) for value in call.tensors()]
        sources = sources[:1] if call.target in ALL_KEPT else sources
        known = [draw for draw in sources if draw is not None]
        if not known or len(known) < len(sources):
            return None
        if call.target in ALL_KEPT:
            return rearranged(known[0], call)
        if call.target in PUT_TOGETHER:
            return side_by_side(known, call)
        origin = joint(known)
        if isinstance(op, ops.Pool | ops.Statistic):
            return reduced(call, op, origin)
        function = ELEMENTWISE.get(call.target)
        population = None if function is None else self._applied(function, call)
        return None if population is None else replace(origin, population=population)

    def _applied(self, function: Callable[..., Any], call: Call) -> Tensor | None:
        def stand_in(argument: Any) -> Any:
            draw = self._of(argument) if isinstance(argument, Value) else None
            return argument if draw is None else draw.population

        try:
            result = function(*map(stand_in, call.args), **{key: stand_in(item) for key, item in call.kwargs.items()})
        except (TypeError, RuntimeError):  # an argument that only makes sense for the tensor itself
            return None
        return result if isinstance(result, Tensor) and result.shape in ((), (SIZE,)) else None


def as_dropout(x: Value, draw: Draw) -> ops.Dropout | None:
    """The dropout that multiplying ``x`` by a mask is; None if the mask's mean is 0.

    Its drop rate is that of the Bernoulli dropout with the same Var[A] / E[A]²: for a mask of zeros and one other
    number the probability of the zeros, for Gaussian noise q of Srivastava et al. 2014, section 10.
    """
    factor = draw.population.double()
    mean, square = float(factor.mean()), float(factor.square().mean())
    if square > 0.0 and mean**2 < _NO_MEAN * square:
        return None
    rate = 1.0 if square == 0.0 else round(max(0.0, 1.0 - mean**2 / square), _DIGITS)
    kind = "mask" if bool((factor == 0.0).any()) else "noise"
    granularity = Granularity.BLOCK if draw.spread else _granularity(x.shape, draw.shape)
    return ops.Dropout(kind, rate, granularity)


def _granularity(shape: tuple[int, ...] | None, mask: tuple[int, ...] | None) -> Granularity:
    """What one draw decides about: the axes along which the mask has as many elements as the input."""
    if shape is None or mask is None or len(mask) > len(shape):
        return Granularity.ELEMENT
    aligned = (1,) * (len(shape) - len(mask)) + mask
    drawn = {axis for axis, (own, whole) in enumerate(zip(aligned, shape, strict=True)) if own == whole > 1}
    shared = {axis for axis, (own, whole) in enumerate(zip(aligned, shape, strict=True)) if own < whole}
    if not shared:
        return Granularity.ELEMENT
    if drawn <= {0}:
        return Granularity.SAMPLE
    positions = set(range(2, len(shape)))
    return Granularity.BLOCK if len(shape) > 3 and drawn & positions else Granularity.CHANNEL


def draws_anew(call: Call, op: Op | None) -> bool:
    """Whether a dropout is on, so that its result is random even where its input is constant."""
    if not isinstance(op, ops.Dropout):
        return False
    return op.drop_rate > 0.0 and (call.training if call.module is not None else training_argument(call) is not False)
