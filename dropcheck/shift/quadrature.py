"""Expectations over Gaussian units: Gauss–Hermite where the integrand is smooth, split at its kinks where not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import pairwise

Rule = tuple[tuple[float, float], ...]
"""Points with their weights; the weights add up to 1."""

_HERMITE_POINTS = 32
_LEGENDRE_POINTS = 8
# In standard deviations: beyond 9 lie 2e-19 of a Gaussian, and the panels are short where it is high.
_PANELS = (-9.0, -4.5, -2.5, -1.0, 1.0, 2.5, 4.5, 9.0)
_BENDS = (-3.0, 0.0, 3.0)


@lru_cache(maxsize=1024)
def normal_rule(mean: float, var: float, kinks: tuple[float, ...] = ()) -> Rule:
    """Points and weights that integrate against N(mean, var) what is smooth on the scale of 1 except at ``kinks``.

    Raises:
        ValueError: unless var ≥ 0.
    """
    if not var >= 0.0:
        raise ValueError(f"expected var >= 0, got {var}")
    sd = math.sqrt(var)
    if sd == 0.0:
        return ((mean, 1.0),)
    # What is smooth on the scale of 1 is steep on that of a wide Gaussian: split where activations bend.
    bends = kinks if sd <= 1.5 else (*kinks, *_BENDS)
    cuts = frozenset((bend - mean) / sd for bend in bends)
    standard = _split_rule(cuts) if cuts else gauss_hermite(_HERMITE_POINTS)
    return tuple((mean + sd * point, weight) for point, weight in standard)


def expectation(function: Callable[[float], float], mean: float, var: float, kinks: tuple[float, ...] = ()) -> float:
    """E[f(x)], x ~ N(mean, var), for an f that is smooth except at ``kinks``."""
    return math.fsum(weight * function(point) for point, weight in normal_rule(mean, var, kinks))


@cache
def gauss_hermite(count: int) -> Rule:
    """The rule of ``count`` points that is exact for N(0, 1) and polynomials up to degree 2·count − 1."""
    return _gauss(tuple(math.sqrt(k) for k in range(1, count + 1)))


@cache
def gauss_legendre(count: int) -> Rule:
    """The rule of ``count`` points that is exact for the mean over [−1, 1] of polynomials up to degree 2·count − 1."""
    return _gauss(tuple(k / math.sqrt(4.0 * k * k - 1.0) for k in range(1, count + 1)))


@lru_cache(maxsize=256)
def _split_rule(cuts: frozenset[float]) -> Rule:
    edges = sorted({*_PANELS, *(cut for cut in cuts if abs(cut) < _PANELS[-1])})
    points = [
        (x := low + half * (1.0 + point), weight * half * math.exp(-0.5 * x * x))
        for low, half in ((low, 0.5 * (high - low)) for low, high in pairwise(edges))
        for point, weight in gauss_legendre(_LEGENDRE_POINTS)
    ]
    total = math.fsum(weight for _, weight in points)
    return tuple((point, weight / total) for point, weight in points)


def _gauss(couplings: tuple[float, ...]) -> Rule:
    """Gauss rule of a symmetric weight whose orthonormal polynomials obey x·p_k = b_(k+1) p_(k+1) + b_k p_(k−1)."""
    count = len(couplings)
    # All roots at once (Ehrlich–Aberth): each is repelled by the others, so that rough starts do. The left half
    # mirrors the right one.
    roots = [2.0 * couplings[-1] * math.cos(math.pi * (i + 0.75) / (count + 0.5)) for i in range(count // 2)]
    middle = (0.0,) * (count % 2)
    for _ in range(100):
        moved = 0.0
        for i, root in enumerate(roots):
            value, _, slope = _highest(root, couplings)
            others = (*roots[:i], *roots[i + 1 :], *(-other for other in roots), *middle)
            newton = value / slope
            step = newton / (1.0 - newton * math.fsum(1.0 / (root - other) for other in others))
            roots[i] = root - step
            moved = max(moved, abs(step))
        if moved < 1e-13 * couplings[-1]:
            break
    return tuple((root, _weight(root, couplings)) for root in (*roots, *middle, *(-root for root in reversed(roots))))


def _weight(root: float, couplings: tuple[float, ...]) -> float:
    """Of a root of p_n: 1 / Σ_k<n p_k², the sum after Christoffel and Darboux."""
    _, before, slope = _highest(root, couplings)
    return 1.0 / (couplings[-1] * before * slope)


def _highest(x: float, couplings: tuple[float, ...]) -> tuple[float, float, float]:
    """p_n(x), p_(n−1)(x), and the slope of p_n at x."""
    value, before, slope, steep, last = 1.0, 0.0, 0.0, 0.0, 0.0
    for coupling in couplings:
        slope, steep = (value + x * slope - last * steep) / coupling, slope
        value, before = (x * value - last * before) / coupling, value
        last = coupling
    return value, before, slope
