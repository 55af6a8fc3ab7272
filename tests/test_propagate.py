"""Predicted shifts of plain stacks: what the papers state, what sampling finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sketches import (
    ADD,
    ELU,
    GELU,
    NORM,
    RELU,
    SELU,
    SILU,
    TANH,
    Sketch,
    conv,
    delta,
    drop,
    last,
    linear,
    pool,
)

from dropcheck import ops
from dropcheck.ops import Granularity, Op, Reduce
from dropcheck.shift import shift_ratio

# Case (a) ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_between_two_norms_the_shift_is_the_keep_probability(rate: float) -> None:
    shift = last(NORM, drop(rate), NORM)
    assert shift.delta == pytest.approx(1.0 - rate)
    assert [(source.dropout, source.share) for source in shift.sources] == [("dropout2", 1.0)]
    assert shift.sources[0].delta == pytest.approx(1.0 - rate)


def test_behind_relu_it_is_lis_form_with_half_normal_moments() -> None:
    mean2, var = 1 / (2 * math.pi), 0.5 - 1 / (2 * math.pi)
    assert delta(NORM, RELU, drop(0.5), NORM) == pytest.approx(var / (2 * (mean2 + var) - mean2))


def test_dropout_commutes_with_relu_and_two_are_one_of_the_product() -> None:
    behind = delta(NORM, RELU, drop(0.3), NORM)
    assert delta(NORM, drop(0.3), RELU, NORM) == pytest.approx(behind)
    twice = delta(NORM, drop(0.3), RELU, drop(0.5), NORM)
    assert twice == pytest.approx(delta(NORM, RELU, drop(1 - 0.7 * 0.5), NORM))


def sampled(*stacked: Op, window: int = 1, samples: int = 400_000) -> float:
    """Δ behind elementwise work on a standard normal, by torch; with a max-pool whose positions share the signal."""
    torch.manual_seed(0)
    signal = torch.randn(samples, 1, dtype=torch.float64)
    variances = []
    for training in (False, True):
        x = signal.expand(-1, window)
        for op in stacked:
            if isinstance(op, ops.Activation):
                x = getattr(torch.nn.functional, op.kind)(x)
            elif isinstance(op, ops.Dropout) and op.alpha:
                x = torch.nn.functional.alpha_dropout(x, op.drop_rate, training)
            elif isinstance(op, ops.Dropout) and op.granularity is Granularity.SAMPLE:
                kept = (torch.rand(samples, 1) >= op.drop_rate).double() / (1.0 - op.drop_rate)
                x = x * kept if training else x
            elif isinstance(op, ops.Dropout):
                x = torch.nn.functional.dropout(x, op.drop_rate, training)
        variances.append(float(x.amax(1).var()))
    return variances[0] / variances[1]


@pytest.mark.parametrize(
    "chain",
    [
        (GELU, drop(0.3)),
        (drop(0.3), GELU),
        (drop(0.5), TANH),
        (RELU, drop(0.5), TANH),
        (drop(0.2), GELU, drop(0.4)),
        (drop(0.3), ops.Activation("hardswish"), drop(0.3, Granularity.SAMPLE), ELU),
        (SELU, drop(0.2, alpha=True)),
        (drop(0.2, alpha=True), ELU),
    ],
)
def test_elementwise_chains_are_exact(chain: tuple[Op, ...]) -> None:
    assert delta(NORM, *chain, NORM) == pytest.approx(sampled(*chain), rel=0.015)


def test_a_third_dropout_is_close_although_the_first_counts_as_gaussian() -> None:
    chain = (drop(0.2), GELU, drop(0.2), GELU, drop(0.2))
    assert delta(NORM, *chain, NORM) == pytest.approx(sampled(*chain), rel=0.15)


def test_alpha_dropout_keeps_the_variance_of_standard_units_but_not_of_what_is_summed() -> None:
    assert delta(NORM, SELU, drop(0.2, alpha=True), NORM) == pytest.approx(1.0, abs=1e-6)
    # It takes from the signal what it adds as noise, and a weight layer averages only the noise.
    assert delta(NORM, SELU, drop(0.2, alpha=True), linear(256), NORM) > 1.1


def test_scales_reshapes_and_added_constants_do_not_matter() -> None:
    sketch = Sketch().stack(NORM, ops.Scale("neg"), RELU)
    bias = sketch.add(ops.Constant(), name="bias")
    dropped = sketch.add(drop(0.5), "activation3", name="drop")
    sketch.add(ADD, dropped, bias)
    sketch.stack(ops.Rearrange("view"), NORM)
    assert sketch.norms()[-1].delta == pytest.approx(delta(NORM, RELU, drop(0.5), NORM))


# Case (b) ---------------------------------------------------------------------------------------------------------


def test_convolutions_shift_less_the_wider_they_are() -> None:
    deltas = [delta(NORM, RELU, drop(0.3), conv(channels), NORM) for channels in (4, 16, 64, 256, 640)]
    assert deltas == sorted(deltas)
    assert deltas[0] < 0.87
    assert deltas[-1] > 0.985


@pytest.mark.parametrize(
    ("stacked", "measured"),
    [
        # Small networks trained on scikit-learn's digits; priors are typical values, not theirs.
        ((RELU, drop(0.3), conv(32)), 0.885),
        ((RELU, drop(0.3), conv(24)), 0.91),
        ((RELU, drop(0.5), conv(24)), 0.785),
        ((RELU, drop(0.5), conv(48)), 0.823),
        ((RELU, drop(0.3), linear(128)), 0.862),
        ((RELU, drop(0.5), linear(192)), 0.71),
        ((GELU, drop(0.3), linear(128)), 0.84),
        ((RELU, drop(0.3), pool(Reduce.MAX), conv(32)), 0.51),
        ((RELU, drop(0.3), pool(Reduce.MAX), conv(24)), 0.581),
        ((SILU, drop(0.3), pool(Reduce.MAX), conv(24)), 0.631),
    ],
)
def test_predictions_are_near_what_trained_networks_measured(stacked: tuple[Op, ...], measured: float) -> None:
    assert delta(NORM, *stacked, NORM) == pytest.approx(measured, rel=0.1)


def test_a_layer_of_unknown_width_is_taken_for_a_typical_one() -> None:
    unknown = delta(NORM, RELU, drop(0.5), ops.Weight("Linear", None), NORM)
    assert delta(NORM, RELU, drop(0.5), linear(16), NORM) < unknown < delta(NORM, RELU, drop(0.5), linear(4096), NORM)


def test_coarser_dropout_is_averaged_less() -> None:
    element, channel, sample = (
        delta(NORM, RELU, drop(0.3, granularity), conv(64), NORM)
        for granularity in (Granularity.ELEMENT, Granularity.CHANNEL, Granularity.SAMPLE)
    )
    assert element > channel > sample
    # A whole sample dropped is dropped behind the layer too: the units there are centred.
    assert sample == pytest.approx(0.7)


def test_channel_dropout_before_flattening_is_coherent_over_positions() -> None:
    def flattened(granularity: Granularity, positions: int) -> float:
        sketch = Sketch().stack(NORM, RELU)
        sketch.add(drop(0.5, granularity), shape=(2, 16, positions, positions))
        sketch.add(ops.Rearrange("flatten"), shape=(2, 16 * positions**2))
        sketch.stack(linear(16 * positions**2), NORM)
        return sketch.norms()[-1].delta or 0.0

    assert flattened(Granularity.CHANNEL, 7) < flattened(Granularity.ELEMENT, 7)
    assert flattened(Granularity.CHANNEL, 1) == pytest.approx(flattened(Granularity.ELEMENT, 1))


def test_a_second_weight_layer_averages_what_is_left() -> None:
    once, twice = (delta(NORM, RELU, drop(0.5), *[linear(128)] * layers, NORM) for layers in (1, 2))
    assert once < twice < 1.0


def test_noise_through_an_activation_behind_a_weight_layer_is_what_sampling_finds() -> None:
    before = delta(NORM, RELU, drop(0.5), linear(64), NORM)
    generator = np.random.default_rng(0)
    signal = generator.standard_normal(400_000)
    noise = generator.standard_normal(400_000) * math.sqrt(1 / before - 1)

    def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()

    behind = delta(NORM, RELU, drop(0.5), linear(64), GELU, NORM)
    assert behind == pytest.approx(gelu(signal).var() / gelu(signal + noise).var(), rel=0.01)
    assert last(NORM, RELU, drop(0.5), linear(64), GELU, NORM).sources[0].delta == pytest.approx(behind)


# Pools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chain", [(RELU, drop(0.3)), (GELU, drop(0.3)), (drop(0.5),), (RELU, drop(0.2, Granularity.SAMPLE), drop(0.3))]
)
def test_max_pools_over_dropped_positions_are_what_sampling_finds(chain: tuple[Op, ...]) -> None:
    # Of 7 positions, 4 are taken to share a signal.
    found = delta(NORM, *chain, pool(Reduce.MAX, 7), NORM)
    assert found == pytest.approx(sampled(*chain, window=4), rel=0.015)


def test_max_pooling_makes_dropout_worse_and_no_width_helps() -> None:
    plain, pooled = (
        [delta(NORM, RELU, drop(0.3), *between, conv(channels), NORM) for channels in (32, 1024)]
        for between in ((), (pool(Reduce.MAX),))
    )
    assert plain[0] > 0.85
    assert plain[1] > 0.99
    assert pooled == pytest.approx([0.54, 0.54], abs=0.02)


@pytest.mark.parametrize("window", [4, None])
def test_pool_windows_of_unknown_size_are_typical_ones(window: int | None) -> None:
    assert delta(NORM, RELU, drop(0.3), pool(Reduce.MAX, window), conv(32), NORM) == pytest.approx(0.54, abs=0.02)


def test_element_dropout_added_to_a_stream_still_suffers_from_max_pooling() -> None:
    def shift(*between: Op) -> float:
        sketch = Sketch()
        x = sketch.add(NORM)
        sketch.stack(RELU, drop(0.3))
        sketch.add(ADD, sketch.last, x)
        sketch.stack(*between, conv(256), NORM)
        return shift_ratio(sketch.norms()[-1].delta or 0.0)

    assert shift(pool(Reduce.MAX)) > 1.25 > 1.05 > shift()


def test_average_pools_average_element_noise_but_not_that_of_channels() -> None:
    element, channel = (
        [
            delta(NORM, RELU, drop(0.3, granularity), *pooled, NORM)
            for pooled in ((), (pool(Reduce.MEAN, 4),), (pool(Reduce.MEAN, 64, everywhere=True),))
        ]
        for granularity in (Granularity.ELEMENT, Granularity.CHANNEL)
    )
    assert element == sorted(element)
    assert element[-1] > 0.95
    assert channel == sorted(channel, reverse=True)
    # Kim et al. 2023, Proposition 5: dropping ahead of the global pool is the better of the two.
    after = delta(NORM, RELU, pool(Reduce.MEAN, 64, everywhere=True), drop(0.3), NORM)
    assert element[-1] > after == pytest.approx(channel[-1], rel=1e-6)


def test_interpolation_averages_a_little() -> None:
    plain, resampled = (delta(NORM, RELU, drop(0.3), *between, NORM) for between in ((), (ops.Resample("bilinear"),)))
    assert plain < resampled < 1.0
