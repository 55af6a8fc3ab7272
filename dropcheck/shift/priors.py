"""What is assumed of a trained network when only its code is known.

Behind a weight layer, signal and noise differ by how much the layer's inputs agree. COS2_THETA is read off Li et al.
2019, Table 1. The other constants of weight layers and of max-pools were chosen on 30 small networks trained on
scikit-learn's digits and synthetic series, 165 dropouts each with the first norm it reaches: Spearman between the
predicted and the measured Δ (with that dropout alone) .94, median error 3.4 %, mean 5.4 %. On 28 other networks, those
of ``tests/benchmarks``, kept for checking, 148 such pairs: .90, 2.5 %, 4.3 %. The optimum is flat, ALIGNMENT = 2.5 to 5
being much the same; a low value is taken, since a shift played down is a shift not found. All this keeps within a
factor of two of Li et al.'s Table 2 for wide networks. A single layer can lie off by that factor, too.
"""

from __future__ import annotations

COS2_THETA = 0.02
"""cos²θ of a wide trained filter, on top of the 1/d of random weights. Li et al. 2019, Table 1: .014 to .035."""

RHO = 0.4
"""Correlation of a weight layer's inputs as far as the layer's mean weight sees it."""

ALIGNMENT = 2.5
"""What trained filters add to the amplification of their inputs beyond their mean weight: they turn to the few
directions in which inputs vary most, and independent noise does not."""

MIXED_ALIGNMENT = 0.5
"""The part of ALIGNMENT that also amplifies noise another weight layer has mixed: that one put it into directions of
its own."""

ALIGNED_FAN_IN = 16
"""d at which about half of ALIGNMENT is reached: few inputs have few directions to choose from."""

SPATIAL_RHO = 0.5
"""Correlation of one channel's values at neighbouring positions."""

KERNEL_COHERENCE = 0.2
"""How far the weights of one channel's kernel agree: 0 as random weights, 1 as an average pool."""

FAN_IN = 256
"""d of a weight layer whose shape is not known."""

LOCAL_WINDOW = 4
GLOBAL_WINDOW = 49
"""Positions of a pooling window whose size is not known: 2×2; a whole map, 7×7."""

RESAMPLED = 2
"""Independent values that interpolation averages."""


def typical_cos2_theta(fan_in: int | None, positions: int = 1) -> float:
    """cos²θ to expect of a trained filter with d = ``fan_in`` inputs, in (0, 1].

    Random weights have d·cos²θ = 1. Training adds a share that grows with d, and in narrow layers (depthwise ones above
    all) the smoothness of the kernel over its ``positions``.
    """
    d = FAN_IN if fan_in is None else fan_in
    return min(1.0, 1.0 / d + max(COS2_THETA, KERNEL_COHERENCE * (positions - 1) / d))


def signal_amplification(fan_in: int | None, positions: int = 1) -> float:
    """By how much more a weight layer passes its correlated signal than independent noise: 1 + ρ(d·cos²θ − 1) + A ≥ 1.

    Source: Li et al. 2019, Eq. 10, for equally correlated inputs; A, what unequal correlations add, is fitted.
    """
    return _mean_weight_amplification(RHO, fan_in, positions) + _aligned(fan_in)


def mixed_amplification(fan_in: int | None, positions: int = 1) -> float:
    """By how much more a weight layer passes noise that another one has mixed than independent noise, ≥ 1.

    Filters share their mean weight, so that noise they have mixed is correlated by cos²θ.
    """
    return _mean_weight_amplification(COS2_THETA, fan_in, positions) + MIXED_ALIGNMENT * _aligned(fan_in)


def _mean_weight_amplification(rho: float, fan_in: int | None, positions: int) -> float:
    d = FAN_IN if fan_in is None else fan_in
    return 1.0 + rho * (d * typical_cos2_theta(fan_in, positions) - 1.0)


def _aligned(fan_in: int | None) -> float:
    others = (FAN_IN if fan_in is None else fan_in) - 1
    return ALIGNMENT * others / (others + ALIGNED_FAN_IN)


def channel_amplification(mean: float, var: float, positions: int) -> float:
    """By how much more a kernel passes noise that is the same mask at all its positions than independent noise, ≥ 1.

    1 + r·(P·cos²θ_k − 1) for the P = ``positions`` weights of one channel's kernel, r the correlation of the channel's
    values as second moments have it. Source: Kim et al. 2023, supplement, Eq. 9 and 12, with one mask per channel.
    """
    second_moment = mean**2 + var
    alike = SPATIAL_RHO if second_moment == 0.0 else (mean**2 + SPATIAL_RHO * var) / second_moment
    return 1.0 + alike * KERNEL_COHERENCE * (positions - 1)


def rival_positions(window: int) -> float:
    """How many of the positions a max-pool looks at share one signal, in [1, window]: there, noise decides who wins."""
    return 1.0 + SPATIAL_RHO * (window - 1)


def pooled_variance(window: int) -> float:
    """What averaging over ``window`` positions leaves of a channel's variance, in (0, 1]."""
    return SPATIAL_RHO + (1.0 - SPATIAL_RHO) / window
