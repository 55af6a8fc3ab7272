"""The formulas of the papers, one function each: variances with dropout on ("train") and off ("test").

``keep_prob`` is p, the probability of keeping a unit; kept units are divided by it. q = 1 − p, Δ = Var_test/Var_train.
Every function raises ValueError outside its domain, saying what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]
Matrix = Sequence[Sequence[float]]


def direct_shift(keep_prob: float, mean: float, var: float) -> float:
    """Δ of a unit with this mean c and variance v that meets a norm right after dropout, in (0, 1].

    Δ = v / ((c² + v)/p − c²); p for c = 0. Source: Li et al. 2019, Eq. 6.
    """
    return multiplicative_shift(bernoulli_noise(keep_prob), mean, var)


def unit_before_dropout(keep_prob: float, running_mean: float, running_var: float) -> tuple[float, float]:
    """Mean and variance of the unit before dropout, from what a norm right after it has stored.

    c = R_m, v = p(R_v + R_m²) − R_m². Source: Li et al. 2019, Eq. 5, solved for v.

    Raises:
        ValueError: also when no unit dropped at that rate can have these statistics.
    """
    least = bernoulli_noise(keep_prob) * running_mean**2
    _require(running_var > least, f"running_var > {least:.6g}", running_var)
    return running_mean, keep_prob * (running_var - least)


def direct_shift_from_statistics(keep_prob: float, running_mean: float, running_var: float) -> float:
    """Δ at a norm right after dropout, from its own statistics, no data needed. Source: Li et al. 2019, Eq. 5–6."""
    return unit_before_dropout(keep_prob, running_mean, running_var)[1] / running_var


def weighted_shift(keep_prob: float, mean: float, var: float, *, rho: float, fan_in: float, cos2_theta: float) -> float:
    """Δ behind a weight layer whose ``fan_in`` inputs were dropped, in (0, 1]: wider layers shift less.

    The inputs share mean c, variance v and pairwise correlation ``rho``; with s = vρ(d·cos²θ − 1),
    Δ = (v + s) / ((c² + v)/p − c² + s). Source: Li et al. 2019, Eq. 10 and 12.
    """
    _require(var > 0.0, "var > 0", var)
    _require(fan_in >= 1.0, "fan_in >= 1", fan_in)
    _require(0.0 <= cos2_theta <= 1.0, "0 <= cos2_theta <= 1", cos2_theta)
    _require(-1.0 <= rho <= 1.0, "-1 <= rho <= 1", rho)
    summed = 1.0 + rho * (fan_in * cos2_theta - 1.0)
    _require(summed > 0.0, "1 + rho * (fan_in * cos2_theta - 1) > 0", summed)
    return var * summed / (var * summed + bernoulli_noise(keep_prob) * (mean**2 + var))


def cos2_theta(weights: Vector) -> float:
    """cos²θ = (Σw)² / (d Σw²) of one flattened filter, in [0, 1]: how far its weights agree in sign.

    Source: Li et al. 2019, Eq. 11.
    """
    squares = math.fsum(weight * weight for weight in weights)
    _require(squares > 0.0, "weights that are not all zero", squares)
    return min(1.0, math.fsum(weights) ** 2 / (len(weights) * squares))


def element_noise(keep_prob: float, weights: Vector, second_moments: Vector) -> float:
    """Var_train − Var_test of Σ w_j x_j when every x_j is dropped on its own: (q/p) Σ w_j² E[x_j²].

    Exact for any dependence between the inputs. Source: Kim et al. 2023, supplement, Eq. 9 and 12.
    """
    powers = (weight * weight * moment for weight, moment in zip(weights, second_moments, strict=True))
    return channel_noise(keep_prob, tuple(powers))


def channel_noise(keep_prob: float, channel_second_moments: Vector) -> float:
    """Var_train − Var_test behind a weight layer when whole channels are dropped: (q/p) Σ_c E[(Σ_k w_ck x_ck)²].

    ``channel_second_moments`` holds E[(Σ_k w_ck x_ck)²] of every channel c.
    Source: Kim et al. 2023, supplement, Eq. 9 and 12, with one mask per channel.
    """
    return math.fsum(sample_noise(keep_prob, moment) for moment in channel_second_moments)


def sample_noise(keep_prob: float, second_moment: float) -> float:
    """Var_train − Var_test of a branch that is dropped as a whole (stochastic depth): (q/p) E[branch²].

    Source: Kim et al. 2023, supplement, Eq. 27, with a Bernoulli mask.
    """
    _require(second_moment >= 0.0, "a second moment >= 0", second_moment)
    return bernoulli_noise(keep_prob) * second_moment


def pre_dropout_variance(keep_prob: float, weights: Vector, products: Matrix, means: Vector) -> float:
    """Var_train of Σ w_j dropout(x_j): dropout before the weight layer. ``products`` is the matrix E[x_j x_k].

    Source: Kim et al. 2023, supplement, Eq. 9.
    """
    moments = tuple(row[j] for j, row in enumerate(products))
    return _weighted(weights, products, means)[1] + element_noise(keep_prob, weights, moments)


def post_dropout_variance(keep_prob: float, weights: Vector, products: Matrix, means: Vector) -> float:
    """Var_train of dropout(Σ w_j x_j): dropout behind the weight layer. ``products`` is the matrix E[x_j x_k].

    Larger than :func:`pre_dropout_variance` exactly if Σ_j Σ_k≠j w_j w_k E[x_j x_k] > 0 (Proposition 2).
    Source: Kim et al. 2023, supplement, Eq. 5.
    """
    mean, var = _weighted(weights, products, means)
    return multiplicative_variance(bernoulli_noise(keep_prob), mean, var)


def head_noise_before_pool(keep_prob: float, second_moments: Vector) -> float:
    """Variance that dropout adds ahead of a global average pool over A positions: (q/p)(1/A²) Σ_a E[x_a²].

    Source: Kim et al. 2023, supplement, Eq. 16 and 19.
    """
    positions = len(second_moments)
    _require(positions > 0, "at least one position", positions)
    return channel_noise(keep_prob, second_moments) / positions**2


def head_noise_after_pool(keep_prob: float, pooled_second_moment: float) -> float:
    """Variance that dropout adds behind a global average pool: (q/p) E[(mean_a x_a)²].

    Larger than ahead of it for non-negative x (Proposition 5). Source: Kim et al. 2023, supplement, Eq. 17 and 21.
    """
    return sample_noise(keep_prob, pooled_second_moment)


def repeated_keep_prob(*keep_probs: float) -> float:
    """Keep probability of several dropouts with only positively homogeneous work between them: p₁p₂…

    Source: Kim et al. 2023, Proposition 1 (dropout commutes with ReLU) and supplement, section G.
    """
    return math.prod(_keep(keep_prob) for keep_prob in keep_probs)


def multiplicative_variance(noise: float, mean: float, var: float) -> float:
    """Variance of A·x for independent noise A of mean 1 and variance ``noise``: (Var[A] + 1) E[x²] − E[x]².

    Source: Kim et al. 2023, supplement, Eq. 27.
    """
    _require(noise >= 0.0, "noise >= 0", noise)
    _require(var >= 0.0, "var >= 0", var)
    return var + noise * (mean**2 + var)


def multiplicative_shift(noise: float, mean: float, var: float) -> float:
    """Δ right behind multiplicative noise of mean 1 and variance ``noise``: below 1 for any such noise.

    Source: Kim et al. 2023, supplement, Proposition 6.
    """
    _require(var > 0.0, "var > 0", var)
    return var / multiplicative_variance(noise, mean, var)


def bernoulli_noise(keep_prob: float) -> float:
    """Var[A] of dropout, A = Bernoulli(p)/p: q/p. Source: Li et al. 2019, Eq. 1 and 5."""
    return (1.0 - _keep(keep_prob)) / keep_prob


def gaussian_noise(keep_prob: float) -> float:
    """Var[A] of Gaussian dropout, whose spread is chosen to match Bernoulli's: q/p.

    Source: Srivastava et al. 2014, section 10.
    """
    return bernoulli_noise(keep_prob)


def uout_noise(beta: float) -> float:
    """Var[A] of Uout, A uniform in [1 − β, 1 + β] with 0 ≤ β ≤ 1: β²/3. Source: Li et al. 2019, Eq. 13."""
    _require(0.0 <= beta <= 1.0, "0 <= beta <= 1", beta)
    return beta**2 / 3.0


def uout_shift(beta: float) -> float:
    """Δ of a zero-mean unit right behind Uout: 3 / (3 + β²). Source: Li et al. 2019, Eq. 13."""
    return multiplicative_shift(uout_noise(beta), 0.0, 1.0)


def relu_moments(mean: float, var: float) -> tuple[float, float]:
    """Mean and variance of ReLU(x), x ~ N(mean, var); (σ/√(2π), σ²(π − 1)/(2π)) for mean 0.

    Source: Kim et al. 2023, supplement, Eq. 43 and 50; any other mean by the same integrals.
    """
    _require(var >= 0.0, "var >= 0", var)
    sd = math.sqrt(var)
    if sd == 0.0:
        return max(0.0, mean), 0.0
    above = 0.5 * math.erfc(-mean / (sd * math.sqrt(2.0)))
    density = sd * math.exp(-0.5 * (mean / sd) ** 2) / math.sqrt(2.0 * math.pi)
    first = mean * above + density
    second = (mean**2 + var) * above + mean * density
    return max(0.0, first), max(0.0, second - first**2)


def max_pool_noise(keep_prob: float, window: float) -> tuple[float, float]:
    """What dropout does to the maximum over a window: (factor on the signal, factor on its mean square).

    The window's positions share one signal x ≥ 0 and have a mask each: the maximum is x/p unless all are dropped, so
    E[max | x] = x (1 − q^k)/p and E[max² | x] = x² (1 − q^k)/p². Own derivation; window 1 is plain dropout.
    """
    _require(window >= 1, "window >= 1", window)
    kept = 1.0 - (1.0 - _keep(keep_prob)) ** window
    return kept / keep_prob, kept / keep_prob**2


def corrected_init_scale(keep_prob: float, second_moment: float, slope_second_moment: float) -> float:
    """What to multiply unit-norm columns with so that dropout keeps forward and backward variance in balance.

    1 / sqrt(E[f²]/p + p·E[f′²]) for the activation f in front of the layer. Source: Hendrycks & Gimpel 2016, 2.2.
    """
    _require(second_moment > 0.0, "second_moment > 0", second_moment)
    _require(slope_second_moment >= 0.0, "slope_second_moment >= 0", slope_second_moment)
    return 1.0 / math.sqrt(second_moment / _keep(keep_prob) + keep_prob * slope_second_moment)


def corrected_init_scale_forward(keep_prob: float, second_moment: float) -> float:
    """The forward-only scale, for convolutions: 1 / sqrt(E[f²]/p). Source: Hendrycks & Gimpel 2016, 2.2."""
    return corrected_init_scale(keep_prob, second_moment, 0.0)


def forward_variance_factor(keep_prob: float, second_moment: float, column_norm2: float = 1.0) -> float:
    """Variance behind dropout and a weight layer whose columns have the squared norm ``column_norm2``: E[f²]/p·Σw².

    He's initialisation has Σw² = 2, so that ReLU (E[f²] = ½) leaves 1/p per layer.
    Source: Hendrycks & Gimpel 2016, 2.1.1.
    """
    _require(second_moment >= 0.0, "second_moment >= 0", second_moment)
    _require(column_norm2 > 0.0, "column_norm2 > 0", column_norm2)
    return second_moment / _keep(keep_prob) * column_norm2


def _weighted(weights: Vector, products: Matrix, means: Vector) -> tuple[float, float]:
    """Mean and variance of Σ w_j x_j."""
    mean = math.fsum(weight * unit for weight, unit in zip(weights, means, strict=True))
    rows = (math.fsum(weight * product for weight, product in zip(weights, row, strict=True)) for row in products)
    second = math.fsum(weight * row for weight, row in zip(weights, rows, strict=True))
    return mean, max(0.0, second - mean**2)


def _keep(keep_prob: float) -> float:
    _require(0.0 < keep_prob <= 1.0, "0 < keep_prob <= 1", keep_prob)
    return keep_prob


def _require(holds: bool, expected: str, value: float) -> None:
    if not holds:
        raise ValueError(f"expected {expected}, got {value}")
