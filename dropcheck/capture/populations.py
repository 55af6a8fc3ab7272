"""Populations: what is known of the distribution of random numbers that a forward draws.

SIZE values, evenly spread, take part in everything that is done to the tensor. Nothing is drawn and nothing measured:

    rand (0.5) ── + keep_prob ── floor (keep_prob) ── / keep_prob (1)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from dropcheck import ops
from dropcheck.capture.calls import Call, Value

SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Draw:
    """What is known of a tensor that does not depend on the input.

    Attributes:
        population: values of its distribution ``(SIZE,)``, or the one number ``()`` that all its elements equal.
        shape: as it was drawn, before anything repeated it; None where nothing was run.
        random_in_eval: whether it is drawn after ``model.eval()`` too; None where that is not known.
        spread: whether neighbouring elements were made of the same draws.
    """

    population: Tensor
    shape: tuple[int, ...] | None = ()
    random_in_eval: bool | None = False
    spread: bool = False


def evenly_spread(order: int) -> Tensor:
    """Uniform on [0, 1], ``(SIZE,)``; populations of different ``order`` are independent."""
    spread = (torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE
    return spread[torch.randperm(SIZE, generator=torch.Generator().manual_seed(order))]


def generated(call: Call, evenly: Tensor, number: Callable[[Any], float | None]) -> Tensor | None:
    """The population of what a random function draws; None where its parameters are not known.

    Args:
        evenly: values of a uniform distribution on [0, 1], ``(SIZE,)``.
        number: the number that an argument is, or that fills it.
    """
    match call.target:
        case "rand" | "rand_like":
            return evenly
        case "uniform":
            low, high = call.argument(1, "from", 0.0), call.argument(2, "to", 1.0)
            return low + (high - low) * evenly if _are_numbers(low, high) else None
        case "randn" | "randn_like":
            return _normal(evenly, 0.0, 1.0)
        case "normal":
            # A tensor with one number may be filled with a mean or be the means.
            first = 1 if call.args and isinstance(call.args[0], Value) else 0
            mean, std = call.argument(first, "mean", 0.0), call.argument(first + 1, "std", 1.0)
            plain = _are_numbers(mean, std) and not first == len(call.args) - 1 == 1
            return _normal(evenly, mean, std) if plain else None
        case "randint":
            ends = [item for item in call.args if _are_numbers(item)]
            low, high = (0, *ends)[-2:] if ends else (call.kwargs.get("low", 0), call.kwargs.get("high"))
            return (low + (high - low) * evenly).floor() if _are_numbers(low, high) else None
        case "bernoulli":
            probability = number(call.argument(1, "p", call.argument(0, "input")))
            return None if probability is None else (evenly < probability).double()
    return None


def _are_numbers(*items: Any) -> bool:
    return all(isinstance(item, int | float) for item in items)


def _normal(spread: Tensor, mean: float, std: float) -> Tensor:
    quantiles: Tensor = torch.special.ndtri(spread)
    return mean + std * quantiles


def filled(call: Call) -> float | None:
    """The number with which a call fills its result."""
    match call.target:
        case "ones" | "ones_like" | "new_ones":
            return 1.0
        case "zeros" | "zeros_like" | "new_zeros":
            return 0.0
        case "full" | "full_like":
            number = call.argument(1, "fill_value")
        case "new_full":
            number = call.argument(2, "fill_value")
        case "tensor" | "as_tensor" | "scalar_tensor":
            number = call.argument(0, "data")
        case "bernoulli":  # of probability 0 or 1
            number = call.argument(1, "p")
        case _:
            return None
    return float(number) if _are_numbers(number) else None


def rearranged(draw: Draw, call: Call) -> Draw:
    """Behind one of ALL_KEPT."""
    if call.target in _REPEATING and _broadcasts(draw.shape, call.shape):
        return draw
    return replace(draw, shape=call.shape, spread=draw.spread or call.target in _REPEATING | _SPREADING)


def _broadcasts(shape: tuple[int, ...] | None, whole: tuple[int, ...] | None) -> bool:
    """Whether only axes of length 1 were repeated."""
    if shape is None or whole is None:
        return True
    return all(own in (1, size) for own, size in zip(reversed(shape), reversed(whole), strict=False))


def joint(draws: Sequence[Draw]) -> Draw:
    """What is known of a function of several, but for its population."""
    shapes = [draw.shape for draw in draws if draw.shape is not None]
    known = _broadcast(shapes) if len(shapes) == len(draws) else None
    spread = any(draw.spread for draw in draws)
    return Draw(draws[0].population, known, still_random(draws), spread)


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of what shapes that fit each other make together; torch's own function imports sympy for it."""
    backwards = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return tuple(max(lengths) for lengths in backwards)[::-1]


def side_by_side(draws: Sequence[Draw], call: Call) -> Draw | None:
    """What is known of several put next to each other, if they are alike."""
    numbers = [draw.population.double() for draw in draws]
    moments = {(round(float(one.mean()), 9), round(float(one.square().mean()), 9)) for one in numbers}
    return replace(joint(draws), shape=call.shape) if len(moments) == 1 else None


def still_random(draws: Sequence[Draw]) -> bool | None:
    """What several draws make together is random in evaluation if one of them is."""
    states = [draw.random_in_eval for draw in draws if draw.population.dim()]
    return True if True in states else None if None in states else False


def reduced(call: Call, op: ops.Pool | ops.Statistic, origin: Draw) -> Draw | None:
    """Behind a maximum over windows of independent elements, or the mean or sum over all elements."""
    population = origin.population.double()
    if isinstance(op, ops.Pool):
        if op.reduce is not ops.Reduce.MAX or op.window is None or population.dim() == 0:
            return None
        level = ((torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE) ** (1.0 / op.window)
        largest = population.sort().values[(level * SIZE).long().clamp_(max=SIZE - 1)]
        return Draw(largest, call.shape, origin.random_in_eval, spread=True)
    if len(call.args) > 1 or call.kwargs:
        return None
    shape = next(call.tensors()).shape
    if call.target == "mean":
        return Draw(population.mean())
    return Draw(population.mean() * math.prod(shape)) if call.target == "sum" and shape is not None else None


_SAME_ELEMENTS = """
    T broadcast_tensors broadcast_to chunk expand expand_as flatten getitem interpolate mT movedim narrow permute
    pixel_shuffle repeat repeat_interleave reshape reshape_as select split squeeze tile transpose unbind unflatten
    type_as unsqueeze upsample view view_as
"""
_POINTWISE = """
    abs add ceil clamp clamp_max clamp_min clip div divide eq exp floor ge gt greater greater_equal le less less_equal
    log logical_and logical_not logical_or logical_xor lt mul multiply ne neg negative not_equal pow reciprocal round
    rsqrt rsub sign sqrt square sub subtract true_divide trunc
"""
_REPEATING = frozenset({"broadcast_tensors", "broadcast_to", "expand", "expand_as", "repeat", "tile"})
_SPREADING = frozenset({"interpolate", "repeat_interleave", "upsample"})
PUT_TOGETHER = frozenset({"cat", "concat", "concatenate", "hstack", "stack", "vstack"})
ALL_KEPT = frozenset(_SAME_ELEMENTS.split())
ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in _POINTWISE.split()},
    "rdiv": lambda divisor, number: number / divisor,
    **dict.fromkeys(("invert", "bitwise_not"), torch.logical_not),
    "where": lambda condition, chosen, otherwise: torch.where(condition != 0, chosen, otherwise),
    "masked_fill": lambda values, mask, value: torch.where(mask != 0, value, values),
    "bool": lambda values: values.bool(),
    "int": lambda values: values.long(),
    "long": lambda values: values.long(),
}
"""Functions of the catalogue that treat every element alike."""
