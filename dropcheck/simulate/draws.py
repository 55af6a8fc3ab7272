"""Random tensors that forward draws itself (home-made masks): what the clean copy gets in their place.

Training draws them, evaluation sees their mean: the clean copy gets that. It is known through a population, many
evenly spread values of the drawn distribution that take part in everything done to the tensor:

    rand (0.5) ── + keep_prob ── floor (keep_prob) ── / keep_prob (1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dropcheck.simulate.called import Called

_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Draw:
    """What is known of a random tensor: a population of its values ``(_SIZE,)``, and the node that made it."""

    population: Tensor
    node: str

    @property
    def mean(self) -> float:
        return float(self.population.double().mean())

    @property
    def gain(self) -> float | None:
        """E[x²] of a mask whose mean is 1; None of others."""
        values = self.population.double()
        return float(values.square().mean()) if abs(float(values.mean()) - 1.0) < 1e-2 else None


def population(kind: str, args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor) -> Tensor | None:
    """Evenly spread values of what a call of the random function ``kind`` draws; None for what has no use as a mask."""
    spread = (torch.arange(_SIZE, dtype=torch.float64) + 0.5) / _SIZE
    spread = spread[torch.randperm(_SIZE)]  # two draws are independent
    match kind:
        case "rand" | "rand_like" | "random_sample":
            return spread.to(out.dtype)
        case "uniform":
            low, high = _numbers(args, kwargs, ("from", 0.0), ("to", 1.0))
            return (low + (high - low) * spread).to(out.dtype)
        case "randn" | "randn_like":
            return _normal(spread, 0.0, 1.0).to(out.dtype)
        case "normal":
            mean, std = _numbers(args, kwargs, ("mean", 0.0), ("std", 1.0))
            return _normal(spread, mean, std).to(out.dtype)
        case "bernoulli":
            return _bernoulli(spread, args, kwargs, out)
    return None


def _normal(spread: Tensor, mean: float, std: float) -> Tensor:
    quantiles: Tensor = torch.special.ndtri(spread)
    return mean + std * quantiles


def _bernoulli(spread: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor) -> Tensor | None:
    given = kwargs.get("p", args[1] if len(args) > 1 else None)
    probability = args[0] if given is None and args else given
    if isinstance(probability, Tensor):
        probability = float(probability.flatten()[0]) if probability.numel() and _is_constant(probability) else None
    return None if probability is None else (spread < probability).to(out.dtype)


def _is_constant(x: Tensor) -> bool:
    return bool((x == x.flatten()[0]).all())


def _numbers(args: Sequence[Any], kwargs: Mapping[str, Any], *wanted: tuple[str, float]) -> list[float]:
    """Arguments after the first, by position or name."""
    given = [*args[1:]]
    found = [given[i] if i < len(given) else kwargs.get(name, default) for i, (name, default) in enumerate(wanted)]
    return [float(number) for number in found]


def derived(call: Called, draws: Mapping[int, Draw]) -> Tensor | None:
    """The population of the result of an elementwise call on random tensors and numbers; None of any other call.

    ``draws`` holds what is known of the tensors among the arguments, by id.
    """

    def stand_in(argument: Any) -> Any:
        return draws[id(argument)].population.clone() if id(argument) in draws else argument

    first = next(iter(draws.values()))
    kwargs = {name: stand_in(argument) for name, argument in call.kwargs.items()}
    try:
        result = call.func(*map(stand_in, call.args), **kwargs)
    except (RuntimeError, IndexError, ValueError):  # it minds the shape
        return None
    return result if isinstance(result, Tensor) and result.shape == first.population.shape else None
