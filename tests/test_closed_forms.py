"""The papers' formulas against Monte Carlo, their limits and the published values; the quadrature they rest on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dropcheck.shift import closed_forms as forms
from dropcheck.shift.pointwise import gaussian_moments
from dropcheck.shift.quadrature import expectation, gauss_hermite, gauss_legendre, normal_rule

Array = NDArray[np.float64]
SAMPLES = 200_000

keep_probs = st.floats(0.01, 1.0)
means = st.floats(-5.0, 5.0)
variances = st.floats(0.01, 10.0)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def masks(generator: np.random.Generator, keep_prob: float, *shape: int) -> Array:
    return (generator.random(shape) < keep_prob) / keep_prob


def correlated(generator: np.random.Generator, units: int, rho: float, mean: float = 0.0, var: float = 1.0) -> Array:
    """SAMPLES × units, each N(mean, var), any two correlated by rho."""
    common = generator.standard_normal((SAMPLES, 1))
    own = generator.standard_normal((SAMPLES, units))
    return np.asarray(mean + math.sqrt(var) * (math.sqrt(rho) * common + math.sqrt(1 - rho) * own))


# Case (a) ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep_prob", "mean", "var"), [(0.5, 0.0, 1.0), (0.7, 1.5, 0.25), (0.9, -2.0, 3.0)])
def test_direct_shift_is_what_sampling_finds(keep_prob: float, mean: float, var: float) -> None:
    generator = random()
    x = generator.normal(mean, math.sqrt(var), SAMPLES)
    found = x.var() / (x * masks(generator, keep_prob, SAMPLES)).var()
    assert forms.direct_shift(keep_prob, mean, var) == pytest.approx(found, rel=0.02)


def test_direct_shift_agrees_with_torch_batch_norm_behind_dropout() -> None:
    torch.manual_seed(0)
    x = torch.randn(100_000, 1) * 2.0 + 1.0
    norm = torch.nn.BatchNorm1d(1, momentum=1.0)
    norm(torch.nn.functional.dropout(x, 0.3, training=True))
    assert norm.running_var is not None
    assert forms.direct_shift(0.7, 1.0, 4.0) == pytest.approx(float(x.var() / norm.running_var), rel=0.02)


@given(keep_probs, variances)
def test_direct_shift_of_a_centred_unit_is_the_keep_probability(keep_prob: float, var: float) -> None:
    assert forms.direct_shift(keep_prob, 0.0, var) == pytest.approx(keep_prob)


@given(keep_probs, means, variances)
def test_direct_shift_lies_between_0_and_1_and_grows_with_the_keep_probability(
    keep_prob: float, mean: float, var: float
) -> None:
    shift = forms.direct_shift(keep_prob, mean, var)
    assert 0.0 < shift <= 1.0
    assert forms.direct_shift(keep_prob / 2, mean, var) < shift
    assert forms.direct_shift(1.0, mean, var) == 1.0


@given(keep_probs, means, variances)
def test_stored_statistics_give_the_unit_back(keep_prob: float, mean: float, var: float) -> None:
    stored = forms.multiplicative_variance(forms.bernoulli_noise(keep_prob), mean, var)
    assert forms.unit_before_dropout(keep_prob, mean, stored) == pytest.approx((mean, var), rel=1e-6)
    shift = forms.direct_shift_from_statistics(keep_prob, mean, stored)
    assert shift == pytest.approx(forms.direct_shift(keep_prob, mean, var), rel=1e-6)


def test_statistics_that_no_dropped_unit_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected running_var > 4, got 3\.0"):
        forms.unit_before_dropout(0.5, 2.0, 3.0)


# Case (b) and exact noise -----------------------------------------------------------------------------------------


def test_weighted_shift_is_what_sampling_finds() -> None:
    generator = random(1)
    rho, mean, var, keep_prob = 0.3, 0.8, 0.5, 0.6
    x = correlated(generator, 12, rho, mean, var)
    weights = generator.normal(0.3, 1.0, 12)
    found = (x @ weights).var() / ((x * masks(generator, keep_prob, *x.shape)) @ weights).var()
    cos2 = forms.cos2_theta(weights.tolist())
    shift = forms.weighted_shift(keep_prob, mean, var, rho=rho, fan_in=12, cos2_theta=cos2)
    assert shift == pytest.approx(found, rel=0.02)


@given(keep_probs, means, variances, st.floats(0.0, 0.9), st.floats(0.05, 1.0))
def test_wider_layers_shift_less_up_to_not_at_all(
    keep_prob: float, mean: float, var: float, rho: float, cos2: float
) -> None:
    by_width = [forms.weighted_shift(keep_prob, mean, var, rho=rho, fan_in=d, cos2_theta=cos2) for d in (20, 400, 8000)]
    assert by_width == sorted(by_width)
    assert 0.0 < by_width[0] <= by_width[-1] <= 1.0
    assert forms.weighted_shift(1.0, mean, var, rho=rho, fan_in=20, cos2_theta=cos2) == 1.0
    boundless = forms.weighted_shift(0.5, 0.0, 1.0, rho=0.5, fan_in=1e9, cos2_theta=cos2)
    assert boundless == pytest.approx(1.0, abs=1e-6)


@given(keep_probs, means, variances)
def test_without_correlation_a_weight_layer_shifts_like_none(keep_prob: float, mean: float, var: float) -> None:
    shift = forms.weighted_shift(keep_prob, mean, var, rho=0.0, fan_in=64, cos2_theta=0.02)
    assert shift == pytest.approx(forms.direct_shift(keep_prob, mean, var))


def test_published_widths_order_the_networks_as_measured() -> None:
    # d·cos²θ on CIFAR-100 (Li et al. 2019, Table 1) against shift ratios at drop rate .5 (Table 2).
    published = {"PreResNet": (2.60, 1.052), "WRN": (44.3, 1.014)}
    deltas = {
        name: forms.weighted_shift(0.5, 0.4, 0.34, rho=0.6, fan_in=product / 0.02, cos2_theta=0.02)
        for name, (product, _) in published.items()
    }
    assert deltas["WRN"] > deltas["PreResNet"]
    assert 1.0 / deltas["WRN"] < 1.06


def test_cos2_theta_of_equal_of_alternating_and_of_random_weights() -> None:
    assert forms.cos2_theta([0.3] * 7) == pytest.approx(1.0)
    assert forms.cos2_theta([1.0, -1.0]) == 0.0
    rows = random(2).standard_normal((2000, 50))
    assert 50 * np.mean([forms.cos2_theta(row.tolist()) for row in rows]) == pytest.approx(1.0, rel=0.1)


def test_element_noise_is_exact_for_any_dependence() -> None:
    generator = random(3)
    base = generator.standard_normal((SAMPLES, 4))
    x = np.stack([base[:, 0], base[:, 0] ** 2, np.maximum(base[:, 1] + base[:, 0], 0), base[:, 3] - 1], axis=1)
    weights = np.array([0.5, -1.0, 2.0, 0.7])
    found = ((x * masks(generator, 0.7, *x.shape)) @ weights).var() - (x @ weights).var()
    predicted = forms.element_noise(0.7, weights.tolist(), (x**2).mean(0).tolist())
    assert predicted == pytest.approx(found, rel=0.03)


def test_channel_noise_is_what_dropping_channels_adds() -> None:
    generator = random(4)
    x = correlated(generator, 6, 0.5, mean=0.4).reshape(SAMPLES, 2, 3)
    weights = np.array([[1.0, 0.5, -0.2], [0.3, 0.8, 0.9]])
    channels = (x * weights).sum(2)
    found = (channels * masks(generator, 0.8, SAMPLES, 2)).sum(1).var() - channels.sum(1).var()
    predicted = forms.channel_noise(0.8, (channels**2).mean(0).tolist())
    assert predicted == pytest.approx(found, rel=0.05)


def test_sample_noise_is_what_dropping_whole_branches_adds() -> None:
    generator = random(5)
    stream, branch = generator.standard_normal(SAMPLES), generator.normal(0.5, 1.0, SAMPLES)
    found = (stream + branch * masks(generator, 0.8, SAMPLES)).var() - (stream + branch).var()
    assert forms.sample_noise(0.8, 1.25) == pytest.approx(found, rel=0.05)


def test_pre_and_post_dropout_variances_and_their_order() -> None:
    generator = random(6)
    x = np.maximum(correlated(generator, 5, 0.4), 0.0)
    weights = np.array([0.6, 0.2, -0.3, 0.5, 0.4])
    products, middle = (x.T @ x / SAMPLES).tolist(), x.mean(0).tolist()
    before = forms.pre_dropout_variance(0.7, weights.tolist(), products, middle)
    behind = forms.post_dropout_variance(0.7, weights.tolist(), products, middle)
    assert before == pytest.approx(((x * masks(generator, 0.7, *x.shape)) @ weights).var(), rel=0.03)
    assert behind == pytest.approx(((x @ weights) * masks(generator, 0.7, SAMPLES)).var(), rel=0.03)
    # Σ_j Σ_k≠j w_j w_k E[x_j x_k] > 0 here: Proposition 2.
    assert (x @ weights).var() < before < behind


@given(st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3), keep_probs)
def test_the_sign_of_the_cross_terms_decides_the_order(weights: list[float], keep_prob: float) -> None:
    products = [[1.0, 0.5, 0.2], [0.5, 2.0, 0.3], [0.2, 0.3, 1.5]]
    cross = sum(weights[j] * weights[k] * products[j][k] for j in range(3) for k in range(3) if j != k)
    behind = forms.post_dropout_variance(keep_prob, weights, products, [0.0] * 3)
    before = forms.pre_dropout_variance(keep_prob, weights, products, [0.0] * 3)
    assert behind - before == pytest.approx((1 / keep_prob - 1) * cross, abs=1e-9 / keep_prob)


# Head, repetition, other noise ------------------------------------------------------------------------------------


def test_head_noise_before_and_after_the_pool() -> None:
    generator = random(7)
    x = np.maximum(correlated(generator, 9, 0.5), 0.0)
    pooled = x.mean(1)
    before = (x * masks(generator, 0.5, *x.shape)).mean(1).var() - pooled.var()
    after = (pooled * masks(generator, 0.5, SAMPLES)).var() - pooled.var()
    assert forms.head_noise_before_pool(0.5, (x**2).mean(0).tolist()) == pytest.approx(before, rel=0.05)
    assert forms.head_noise_after_pool(0.5, float((pooled**2).mean())) == pytest.approx(after, rel=0.05)
    assert before < after


def test_repeated_dropout_is_one_of_the_product() -> None:
    generator = random(8)
    x = generator.standard_normal(SAMPLES)
    twice = np.maximum(x * masks(generator, 0.8, SAMPLES), 0.0) * masks(generator, 0.5, SAMPLES)
    once = forms.multiplicative_variance(
        forms.bernoulli_noise(forms.repeated_keep_prob(0.8, 0.5)), *forms.relu_moments(0.0, 1.0)
    )
    assert once == pytest.approx(twice.var(), rel=0.02)
    assert forms.repeated_keep_prob() == 1.0


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "uout"])
def test_any_multiplicative_noise_shifts_as_its_variance_says(kind: str) -> None:
    generator = random(9)
    draws, noise = {
        "bernoulli": (masks(generator, 0.7, SAMPLES), forms.bernoulli_noise(0.7)),
        "gaussian": (generator.normal(1.0, math.sqrt(3 / 7), SAMPLES), forms.gaussian_noise(0.7)),
        "uout": (generator.uniform(0.5, 1.5, SAMPLES), forms.uout_noise(0.5)),
    }[kind]
    assert noise == pytest.approx(draws.var(), rel=0.02)
    x = generator.normal(0.6, 1.2, SAMPLES)
    assert forms.multiplicative_shift(noise, 0.6, 1.44) == pytest.approx(x.var() / (x * draws).var(), rel=0.02)


def test_uout_of_a_tenth_shifts_by_the_published_300_to_301() -> None:
    assert forms.uout_shift(0.1) == pytest.approx(300 / 301)
    assert forms.uout_shift(0.0) == 1.0


@given(st.floats(0.001, 10.0), means, variances)
def test_no_multiplicative_noise_leaves_the_variance_alone(noise: float, mean: float, var: float) -> None:
    assert forms.multiplicative_shift(noise, mean, var) < 1.0


@pytest.mark.parametrize(("keep_prob", "window"), [(0.7, 4), (0.5, 9), (0.9, 1)])
def test_max_pooling_dropout_noise(keep_prob: float, window: int) -> None:
    generator = random(10)
    signal = np.abs(generator.standard_normal(SAMPLES))
    pooled = (signal[:, None] * masks(generator, keep_prob, SAMPLES, window)).max(1)
    gain, power = forms.max_pool_noise(keep_prob, window)
    assert gain == pytest.approx((pooled * signal).mean() / (signal**2).mean(), rel=0.01)
    assert power == pytest.approx((pooled**2).mean() / (signal**2).mean(), rel=0.02)


def test_max_pooling_over_one_position_is_dropout_and_over_many_pure_gain() -> None:
    assert forms.max_pool_noise(0.7, 1) == pytest.approx((1.0, 1.0 / 0.7))
    gain, power = forms.max_pool_noise(0.7, 100)
    assert (gain, power) == pytest.approx((1 / 0.7, gain**2))
    assert forms.max_pool_noise(1.0, 4) == (1.0, 1.0)


# Activations and initialisation -----------------------------------------------------------------------------------


def test_relu_moments_are_kims() -> None:
    mean, var = forms.relu_moments(0.0, 1.0)
    assert (round(mean, 4), round(var, 4)) == (0.3989, 0.3408)
    assert var == pytest.approx((math.pi - 1) / (2 * math.pi))


@given(means, variances)
def test_relu_moments_agree_with_quadrature(mean: float, var: float) -> None:
    moments = gaussian_moments("relu", mean, var)
    assert forms.relu_moments(mean, var) == pytest.approx((moments.mean, moments.var), rel=1e-5, abs=1e-7)


def test_relu_moments_of_a_constant() -> None:
    assert forms.relu_moments(2.0, 0.0) == (2.0, 0.0)
    assert forms.relu_moments(-2.0, 0.0) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "second_moment", "slope"),
    [
        ("identity", 1.0, 1.0),
        ("relu", 0.5, 0.5),
        ("gelu", 0.425, 0.444),
        ("tanh", 0.394, math.sqrt(0.216)),  # the table squares E[f′²] once more: E[f′²] is 0.464, 0.464² is 0.216
        ("elu", 0.645, 0.671),
    ],
)
def test_gaussian_moments_are_hendrycks_table_1(kind: str, second_moment: float, slope: float) -> None:
    moments = gaussian_moments(kind)
    assert moments.second_moment == pytest.approx(second_moment, abs=6e-4)
    # The slopes were estimated there by sampling: GELU's exact value is .4559, ELU's .6681.
    assert moments.slope_second_moment == pytest.approx(slope, abs=0.012)


def test_selu_keeps_a_standard_normal_standard() -> None:
    moments = gaussian_moments("selu")
    assert (moments.mean, moments.var) == pytest.approx((0.0, 1.0), abs=1e-8)


TORCH_ACTIVATIONS = [
    *("relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "sigmoid", "logsigmoid", "tanh"),
    *("tanhshrink", "softsign", "softshrink", "hardshrink", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu"),
]


@pytest.mark.parametrize("kind", TORCH_ACTIVATIONS)
@pytest.mark.parametrize(("mean", "var"), [(0.0, 1.0), (0.7, 3.0), (-1.0, 0.2)])
def test_gaussian_moments_agree_with_torch_on_a_fine_grid(kind: str, mean: float, var: float) -> None:
    z = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    weight /= weight.sum()
    value = getattr(torch.nn.functional, kind)(mean + math.sqrt(var) * z)
    first, second = float((weight * value).sum()), float((weight * value * value).sum())
    moments = gaussian_moments(kind, mean, var)
    assert moments.mean == pytest.approx(first, abs=2e-4)
    assert moments.second_moment == pytest.approx(second, rel=2e-4, abs=2e-4)


@pytest.mark.parametrize("kind", ["sin", "exp", "square", "atan", "abs", "erf", "sqrt", "sign"])
def test_other_pointwise_functions_agree_with_torch(kind: str) -> None:
    z = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z)
    weight /= weight.sum()
    value = torch.sqrt(z.clamp(min=0)) if kind == "sqrt" else getattr(torch, kind)(z)
    assert gaussian_moments(kind).second_moment == pytest.approx(float((weight * value * value).sum()), rel=1e-3)


def test_a_leaky_slope_is_respected_and_unknown_shapes_pass_through() -> None:
    assert gaussian_moments("leaky_relu", slope=0.5).second_moment == pytest.approx(0.625)
    assert gaussian_moments("prelu").second_moment == pytest.approx(0.5 + 0.5 * 0.25**2)
    assert gaussian_moments("lgamma", 1.0, 2.0).var == pytest.approx(2.0)


def test_quadrature_rules_are_numpys() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    assert np.allclose(sorted(gauss_hermite(32)), np.stack([nodes, weights / weights.sum()], axis=1), atol=1e-13)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    assert np.allclose(sorted(gauss_legendre(8)), np.stack([nodes, weights / 2], axis=1), atol=1e-13)


@given(means, st.floats(0.0, 100.0))
def test_normal_rules_integrate_polynomials(mean: float, var: float) -> None:
    scale = 1.0 + mean**2 + var
    for kinks in ((), (0.3,)):
        assert expectation(lambda x: 1.0, mean, var, kinks) == pytest.approx(1.0)
        assert expectation(lambda x: x, mean, var, kinks) == pytest.approx(mean, abs=1e-6 * scale)
        assert expectation(lambda x: x * x, mean, var, kinks) == pytest.approx(mean**2 + var, abs=1e-6 * scale)
    with pytest.raises(ValueError, match="expected var >= 0, got -1"):
        normal_rule(0.0, -1.0)


def test_corrected_initialisation_keeps_unit_variance_through_twenty_layers() -> None:
    generator = random(11)
    x = generator.standard_normal((400, 300))
    scale = forms.corrected_init_scale_forward(0.6, gaussian_moments("relu").second_moment)
    he = x
    for _ in range(20):
        columns = generator.standard_normal((300, 300))
        columns /= np.linalg.norm(columns, axis=0)
        x = (np.maximum(x, 0.0) * masks(generator, 0.6, *x.shape)) @ columns * scale
        he = (np.maximum(he, 0.0) * masks(generator, 0.6, *he.shape)) @ columns * math.sqrt(2.0)
    assert 0.5 < x.var() < 2.0
    factor = forms.forward_variance_factor(0.6, 0.5, column_norm2=2.0)
    assert factor == pytest.approx(1 / 0.6)
    assert he.var() == pytest.approx(factor**20, rel=0.5)
    assert forms.forward_variance_factor(0.6, 0.5, column_norm2=scale**2) == pytest.approx(1.0)


def test_corrected_initialisation_balances_both_directions() -> None:
    assert forms.corrected_init_scale(1.0, 1.0, 1.0) == pytest.approx(math.sqrt(0.5))
    assert forms.corrected_init_scale(0.5, 0.5, 0.5) == pytest.approx(1 / math.sqrt(1.25))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: forms.direct_shift(0.0, 0.0, 1.0), "expected 0 < keep_prob <= 1, got 0.0"),
        (lambda: forms.direct_shift(1.5, 0.0, 1.0), "expected 0 < keep_prob <= 1, got 1.5"),
        (lambda: forms.direct_shift(0.5, 0.0, 0.0), "expected var > 0, got 0.0"),
        (lambda: forms.direct_shift(math.nan, 0.0, 1.0), "expected 0 < keep_prob <= 1, got nan"),
        (lambda: forms.weighted_shift(0.5, 0, 1, rho=0.5, fan_in=0, cos2_theta=0.1), "expected fan_in >= 1, got 0"),
        (lambda: forms.weighted_shift(0.5, 0, 1, rho=0.5, fan_in=9, cos2_theta=2), "expected 0 <= cos2_theta <= 1"),
        (lambda: forms.weighted_shift(0.5, 0, 1, rho=2.0, fan_in=9, cos2_theta=0.1), "expected -1 <= rho <= 1"),
        (lambda: forms.weighted_shift(0.5, 0, 1, rho=-1, fan_in=90, cos2_theta=0.1), "expected 1 [+] rho"),
        (lambda: forms.cos2_theta([0.0, 0.0]), "expected weights that are not all zero"),
        (lambda: forms.element_noise(0.5, [1.0], [-1.0]), "expected a second moment >= 0"),
        (lambda: forms.head_noise_before_pool(0.5, []), "expected at least one position, got 0"),
        (lambda: forms.multiplicative_variance(-0.1, 0.0, 1.0), "expected noise >= 0, got -0.1"),
        (lambda: forms.uout_noise(1.5), "expected 0 <= beta <= 1, got 1.5"),
        (lambda: forms.relu_moments(0.0, -1.0), "expected var >= 0, got -1.0"),
        (lambda: forms.max_pool_noise(0.5, 0), "expected window >= 1, got 0"),
        (lambda: forms.corrected_init_scale(0.5, 0.0, 1.0), "expected second_moment > 0, got 0.0"),
        (lambda: forms.forward_variance_factor(0.5, 0.5, 0.0), "expected column_norm2 > 0, got 0.0"),
    ],
)
def test_outside_their_domain_the_forms_say_what_they_expect(call: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        call()  # type: ignore[operator]
