"""What is assumed of a trained network when only its code is known.

Behind a weight layer, signal and noise differ by how much the layer's inputs agree. The numbers below were chosen to
meet, all at once, what Li et al. 2019 report (Tables 1 and 2) and the shifts measured on small networks trained on
scikit-learn's digits: Δ = .88 to .89 (3×3 convolutions of 32 to 64 channels, drop rate .3), .71 (MLP, .5), .84 (MLP
with GELU, .3). They describe typical layers; a single layer can lie off by a factor of two.
"""

from __future__ import annotations

COS2_THETA = 0.02
"""cos²θ of a wide trained filter, on top of the 1/d of random weights. Li et al. 2019, Table 1: .014 to .035."""

RHO = 0.6
"""Correlation of a weight layer's inputs as far as the layer's mean weight sees it; fitted, larger than a plain mean
over pairs, since trained weights favour the directions in which inputs vary together."""

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
    """By how much more a weight layer passes its correlated signal than independent noise: 1 + ρ(d·cos²θ − 1) ≥ 1.

    Source: Li et al. 2019, Eq. 10.
    """
    d = FAN_IN if fan_in is None else fan_in
    return 1.0 + RHO * (d * typical_cos2_theta(fan_in, positions) - 1.0)


def channel_amplification(mean: float, var: float, positions: int) -> float:
    """By how much more a kernel passes noise that is the same mask at all its positions than independent noise, ≥ 1.

    1 + r·(P·cos²θ_k − 1) for the P = ``positions`` weights of one channel's kernel, r the correlation of the channel's
    values as second moments have it. Source: Kim et al. 2023, supplement, Eq. 9 and 12, with one mask per channel.
    """
    second_moment = mean**2 + var
    alike = SPATIAL_RHO if second_moment == 0.0 else (mean**2 + SPATIAL_RHO * var) / second_moment
    return 1.0 + alike * KERNEL_COHERENCE * (positions - 1)


def pooled_variance(window: int) -> float:
    """What averaging over ``window`` positions leaves of a channel's variance, in (0, 1]."""
    return SPATIAL_RHO + (1.0 - SPATIAL_RHO) / window
