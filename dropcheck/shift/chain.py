"""A stretch of elementwise work as one function of (Gaussian signal, dropout masks).

Bernoulli noise is no Gaussian: behind BN and ReLU, half the units of a dropout of rate .5 sit at f(0). So the states
of the masks are enumerated, and only the signal is integrated over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import mul

from dropcheck.ops import Dropout, Granularity
from dropcheck.shift.pointwise import SELU_ALPHA, SELU_SCALE, pointwise
from dropcheck.shift.quadrature import normal_rule

_HERMITE_ORDER = 8


@dataclass(frozen=True, slots=True)
class Curve:
    """A pointwise activation."""

    kind: str
    slope: float | None = None


@dataclass(frozen=True, slots=True)
class Mask:
    """A dropout: ``scale``·x + ``offset`` where it keeps, the constant ``dropped`` where it does not."""

    keep_prob: float
    scale: float
    offset: float
    dropped: float
    granularity: Granularity


Step = Curve | Mask


@dataclass(frozen=True, slots=True)
class Unit:
    """A typical unit without dropout (``mean``, ``var``) and in training.

    ``train_mean`` and ``signal`` are mean and variance of the unit's expectation over all masks, ``noise`` the variance
    around it: Var_train = signal + noise.
    """

    mean: float = 0.0
    var: float = 1.0
    train_mean: float = 0.0
    signal: float = 1.0
    noise: float = 0.0

    @property
    def second_moment(self) -> float:
        return self.mean**2 + self.var

    @property
    def is_clean(self) -> bool:
        return self.noise == 0.0 and self.signal == self.var and self.train_mean == self.mean

    @property
    def clean(self) -> Unit:
        """The same unit if there were no dropout."""
        return Unit(self.mean, self.var, self.mean, self.var, 0.0)


def mask_of(dropout: Dropout) -> Mask:
    """The mask of a dropout; alpha dropout drops to SELU's lower limit and restores mean 0, variance 1.

    Source for alpha: Klambauer et al. 2017, section "new dropout technique".
    """
    keep, drop = 1.0 - dropout.drop_rate, dropout.drop_rate
    if keep == 0.0:
        return Mask(0.0, 1.0, 0.0, 0.0, dropout.granularity)
    if not dropout.alpha:
        return Mask(keep, 1.0 / keep, 0.0, 0.0, dropout.granularity)
    low = -SELU_SCALE * SELU_ALPHA
    scale = 1.0 / math.sqrt(keep * (1.0 + drop * low**2))
    offset = -scale * low * drop
    return Mask(keep, scale, offset, scale * low + offset, dropout.granularity)


def without_masks(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(step for step in steps if isinstance(step, Curve))


@lru_cache(maxsize=4096)
def response(unit: Unit, steps: tuple[Step, ...], window: float = 1) -> Unit:
    """The unit behind these steps, and behind a max-pool over ``window`` positions that share its signal.

    Masks of elements are drawn per position, coarser ones once for the whole window. Noise that the unit brings along
    is taken for Gaussian and shared by the window.
    """
    curves = without_masks(steps)
    mean, var = _plain_moments(unit.mean, unit.var, curves)
    if unit.is_clean and len(curves) == len(steps):
        return Unit(mean, var, mean, var, 0.0)
    points, weights = zip(*normal_rule(unit.train_mean, unit.signal + unit.noise, _kinks(steps)), strict=True)
    expected, squared = [0.0] * len(points), [0.0] * len(points)
    for chance, setting in _settings(steps) if window > 1 else [(1.0, steps)]:
        chances, columns = zip(*_outcomes(points, setting), strict=True)
        for i, values in enumerate(zip(*columns, strict=True)):
            first, second = _maximum(chances, values, window)
            expected[i] += chance * first
            squared[i] += chance * second
    train_mean, spread = _moments(expected, weights)
    total = _mean(squared, weights) - train_mean**2
    signal = spread if unit.noise == 0.0 else _shared(unit, points, expected, weights)
    return Unit(mean, var, train_mean, signal, max(0.0, total - signal))


@lru_cache(maxsize=4096)
def _plain_moments(mean: float, var: float, curves: tuple[Step, ...]) -> tuple[float, float]:
    if not curves:
        return mean, var
    points, weights = zip(*normal_rule(mean, var, _kinks(curves)), strict=True)
    ((_, values),) = _outcomes(points, curves)
    return _moments(values, weights)


def _outcomes(points: Sequence[float], steps: tuple[Step, ...]) -> list[tuple[float, Sequence[float]]]:
    """For every state of the masks its probability and the value at each point."""
    columns: list[tuple[float, Sequence[float]]] = [(1.0, points)]
    for step in steps:
        if isinstance(step, Curve):
            function = pointwise(step.kind, step.slope).function
            columns = [(chance, [function(x) for x in column]) for chance, column in columns]
            continue
        kept = [(chance * step.keep_prob, [step.scale * x + step.offset for x in column]) for chance, column in columns]
        dropped = [(chance * (1.0 - step.keep_prob), [step.dropped] * len(points)) for chance, _ in columns]
        columns = [column for column in (*kept, *dropped) if column[0] > 0.0]
    return columns


def _maximum(chances: Sequence[float], values: Sequence[float], window: float) -> tuple[float, float]:
    """Mean and mean square of the largest of ``window`` independent draws."""
    if window == 1:
        return _mean(values, chances), _mean([value * value for value in values], chances)
    first = second = below = 0.0
    for value, chance in sorted(zip(values, chances, strict=True)):
        share = (below + chance) ** window - below**window
        first, second, below = first + share * value, second + share * value * value, below + chance
    return first, second


def _settings(steps: tuple[Step, ...]) -> list[tuple[float, tuple[Step, ...]]]:
    """The masks that are shared by all positions held in each of their states, with its probability."""
    settings: list[tuple[float, tuple[Step, ...]]] = [(1.0, ())]
    for step in steps:
        if isinstance(step, Curve) or step.granularity is Granularity.ELEMENT:
            settings = [(chance, (*held, step)) for chance, held in settings]
        else:
            states = [
                (p, replace(step, keep_prob=fixed)) for fixed, p in ((1.0, step.keep_prob), (0.0, 1.0 - step.keep_prob))
            ]
            settings = [(chance * p, (*held, state)) for chance, held in settings for p, state in states if p > 0.0]
    return settings


def _shared(unit: Unit, points: Sequence[float], expected: Sequence[float], weights: Sequence[float]) -> float:
    """Covariance of two copies of the unit that have the signal in common but not the Gaussian noise.

    Mehler: Σ a_k² r^k, a_k the coefficients in orthonormal Hermite polynomials, r the signal's part of the variance.
    """
    spread = unit.signal + unit.noise
    share, sd = unit.signal / spread, math.sqrt(spread)
    standard = [(x - unit.train_mean) / sd for x in points]
    before, polynomial = [0.0] * len(points), [1.0] * len(points)
    left, covariance = _moments(expected, weights)[1], 0.0
    for k in range(1, _HERMITE_ORDER + 1):
        back, up = math.sqrt(k - 1), math.sqrt(k)
        climbed = [(x * p - back * b) / up for x, p, b in zip(standard, polynomial, before, strict=True)]
        before, polynomial = polynomial, climbed
        coefficient = _mean([f * p for f, p in zip(expected, polynomial, strict=True)], weights)
        covariance += coefficient**2 * share**k
        left -= coefficient**2
    return covariance + max(0.0, left) * share ** (_HERMITE_ORDER + 1)


def _moments(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    mean = _mean(values, weights)
    return mean, _mean([(value - mean) ** 2 for value in values], weights)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(map(mul, values, weights))


def _kinks(steps: tuple[Step, ...]) -> tuple[float, ...]:
    """Where the steps bend as a function of the unit: at the first curve's kinks, seen through the masks before it.

    Later curves bend at the same places as long as the earlier ones keep the sign.
    """
    scale, offset = 1.0, 0.0
    kinks: set[float] = set()
    for step in steps:
        if isinstance(step, Mask):
            scale, offset = scale * step.scale, offset * step.scale + step.offset
        else:
            bends = pointwise(step.kind, step.slope).kinks
            kinks.update(bends)
            kinks.update((bend - offset) / scale for bend in bends)
    return tuple(sorted(kinks))
