"""Pointwise activations as functions of one number, and what they make of a Gaussian unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from dropcheck.shift.quadrature import expectation, normal_rule

# Klambauer et al. 2017, Eq. 2.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
_LARGE = 30.0  # exponents are cut here, so that no moment of a moment overflows


@dataclass(frozen=True, slots=True)
class Pointwise:
    """A function of one number, smooth except at ``kinks`` (jumps included)."""

    function: Callable[[float], float]
    kinks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Moments:
    """Of f(x) for Gaussian x: mean, variance, E[f²] and E[f′²]."""

    mean: float
    var: float
    second_moment: float
    slope_second_moment: float


@lru_cache(maxsize=256)
def pointwise(kind: str, slope: float | None = None) -> Pointwise:
    """The activation of that kind (see :class:`dropcheck.ops.Activation`); the identity where its shape is unknown.

    Kinds that are no function of one finite number on the whole line (``log``, ``pow``, ``glu`` …) pass their input on:
    for the ratio of two variances that is the neutral answer.
    """
    if kind in _LEAKY:
        return Pointwise(_leaky(_LEAKY[kind] if slope is None else slope), (0.0,))
    return _TABLE.get(kind, _IDENTITY)


@lru_cache(maxsize=1024)
def gaussian_moments(kind: str, mean: float = 0.0, var: float = 1.0, slope: float | None = None) -> Moments:
    """Moments of an activation of N(mean, var) by quadrature; their table for N(0, 1): Hendrycks & Gimpel 2016.

    Raises:
        ValueError: unless var ≥ 0.
    """
    shape = pointwise(kind, slope)
    rule = normal_rule(mean, var, shape.kinks)
    first = math.fsum(weight * shape.function(x) for x, weight in rule)
    spread = math.fsum(weight * (shape.function(x) - first) ** 2 for x, weight in rule)
    steep = expectation(lambda x: _slope(shape.function, x) ** 2, mean, var, shape.kinks)
    return Moments(first, spread, spread + first**2, steep)


def _slope(function: Callable[[float], float], x: float) -> float:
    step = 1e-5
    return (function(x + step) - function(x - step)) / (2.0 * step)


def _leaky(slope: float) -> Callable[[float], float]:
    return lambda x: x if x > 0.0 else slope * x


def _clamped(low: float, high: float) -> Callable[[float], float]:
    return lambda x: min(high, max(low, x))


def _exp(x: float) -> float:
    return math.exp(min(x, _LARGE))


def _sigmoid(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _elu(x: float) -> float:
    return x if x > 0.0 else math.expm1(x)


def _selu(x: float) -> float:
    return SELU_SCALE * (x if x > 0.0 else SELU_ALPHA * math.expm1(x))


def _gelu(x: float) -> float:
    return 0.5 * x * math.erfc(-x / math.sqrt(2.0))


def _shrunk(x: float) -> float:
    return math.copysign(max(0.0, abs(x) - 0.5), x)


_IDENTITY = Pointwise(lambda x: x)
# Slopes where the call names none: torch's defaults; rrelu's is its mean.
_LEAKY = {"leaky_relu": 0.01, "prelu": 0.25, "rrelu": (1.0 / 8.0 + 1.0 / 3.0) / 2.0}
_TABLE: Mapping[str, Pointwise] = {
    "relu": Pointwise(lambda x: max(0.0, x), (0.0,)),
    "threshold": Pointwise(lambda x: max(0.0, x), (0.0,)),
    "relu6": Pointwise(_clamped(0.0, 6.0), (0.0, 6.0)),
    "abs": Pointwise(abs, (0.0,)),
    "absolute": Pointwise(abs, (0.0,)),
    "elu": Pointwise(_elu, (0.0,)),
    "celu": Pointwise(_elu, (0.0,)),
    "selu": Pointwise(_selu, (0.0,)),
    "gelu": Pointwise(_gelu),
    "silu": Pointwise(lambda x: x * _sigmoid(x)),
    "mish": Pointwise(lambda x: x * math.tanh(_softplus(x))),
    "softplus": Pointwise(_softplus),
    "sigmoid": Pointwise(_sigmoid),
    "special_expit": Pointwise(_sigmoid),
    "logsigmoid": Pointwise(lambda x: -_softplus(-x)),
    "tanh": Pointwise(math.tanh),
    "tanhshrink": Pointwise(lambda x: x - math.tanh(x)),
    "softsign": Pointwise(lambda x: x / (1.0 + abs(x)), (0.0,)),
    "softshrink": Pointwise(_shrunk, (-0.5, 0.5)),
    "hardshrink": Pointwise(lambda x: x if abs(x) > 0.5 else 0.0, (-0.5, 0.5)),
    "hardtanh": Pointwise(_clamped(-1.0, 1.0), (-1.0, 1.0)),
    "hardsigmoid": Pointwise(lambda x: _clamped(0.0, 6.0)(x + 3.0) / 6.0, (-3.0, 3.0)),
    "hardswish": Pointwise(lambda x: x * _clamped(0.0, 6.0)(x + 3.0) / 6.0, (-3.0, 3.0)),
    "sign": Pointwise(lambda x: math.copysign(1.0, x), (0.0,)),
    "sgn": Pointwise(lambda x: math.copysign(1.0, x), (0.0,)),
    "square": Pointwise(lambda x: min(x * x, math.exp(_LARGE))),
    "sqrt": Pointwise(lambda x: math.sqrt(max(0.0, x)), (0.0,)),
    "exp": Pointwise(_exp),
    "exp2": Pointwise(lambda x: 2.0 ** min(x, _LARGE)),
    "expm1": Pointwise(lambda x: _exp(x) - 1.0),
    "sin": Pointwise(math.sin),
    "cos": Pointwise(math.cos),
    "atan": Pointwise(math.atan),
    "asinh": Pointwise(math.asinh),
    "erf": Pointwise(math.erf),
    "erfc": Pointwise(math.erfc),
}
