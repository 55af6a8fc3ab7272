"""Predicted shifts of hand-made graphs: what the papers state, what sampling finds, what must not be guessed."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dropcheck import ops
from dropcheck.graph import Graph, Node
from dropcheck.ops import Granularity, Op, Reduce
from dropcheck.shift import Evidence, NormShift, predict, shift_ratio

INPUT = ops.Input()
NORM = ops.BatchNorm("BatchNorm2d", 64)
RELU = ops.Activation("relu")
GELU = ops.Activation("gelu")
SILU = ops.Activation("silu")
LAYER_NORM = ops.LocalNorm("LayerNorm")
ADD = ops.Add()
OPAQUE = ops.Opaque("mystery")


def drop(rate: float, granularity: Granularity = Granularity.ELEMENT, *, alpha: bool = False) -> ops.Dropout:
    return ops.Dropout("Dropout", rate, granularity, alpha)


def conv(channels: int, kernel: int = 9) -> ops.Weight:
    return ops.Weight("Conv2d", channels * kernel, channels, kernel)


def linear(width: int) -> ops.Weight:
    return ops.Weight("Linear", width, width)


def pool(reduce: Reduce, window: int | None = 4, *, everywhere: bool = False) -> ops.Pool:
    return ops.Pool(reduce, window, everywhere)


class Sketch:
    """A graph drawn node by node; nodes are called by their kind and a running number."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.last = self.add(INPUT)

    def add(
        self, op: Op, *inputs: str, shape: tuple[int, ...] | None = None, training: bool = True, name: str = ""
    ) -> str:
        """Add a node that reads ``inputs``, or else the last node added; returns its name."""
        name = name or f"{type(op).__name__.lower()}{len(self.nodes)}"
        reads = inputs or ((self.last,) if self.nodes else ())
        self.nodes.append(Node(name, name, op, reads, shape, training=training))
        self.last = name
        return name

    def stack(self, *stacked: Op) -> Sketch:
        for op in stacked:
            self.add(op)
        return self

    def norms(self) -> list[NormShift]:
        return list(predict(Graph(tuple(self.nodes))).norms.values())


def last(*stacked: Op) -> NormShift:
    """The last norm of a plain stack."""
    return Sketch().stack(*stacked).norms()[-1]


def delta(*stacked: Op) -> float:
    found = last(*stacked).delta
    assert found is not None
    return found


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


TANH, SELU, ELU = ops.Activation("tanh"), ops.Activation("selu"), ops.Activation("elu")


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


# Residual and dense streams ---------------------------------------------------------------------------------------


def residual(blocks: int, channels: int, rate: float, position: str = "pre", stochastic_depth: bool = False) -> Sketch:
    """Pre-activation residual blocks with dropout before or behind the last convolution, and a last norm."""
    sketch = Sketch()
    stream = sketch.add(conv(3))
    granularity = Granularity.SAMPLE if stochastic_depth else Granularity.ELEMENT
    for _ in range(blocks):
        sketch.add(NORM, stream)
        sketch.stack(RELU, conv(channels), NORM, RELU)
        order = (
            (drop(rate, granularity), conv(channels))
            if position == "pre"
            else (conv(channels), drop(rate, granularity))
        )
        sketch.stack(*order)
        stream = sketch.add(ADD, sketch.last, stream)
    sketch.add(NORM, stream)
    return sketch


def worst(sketch: Sketch) -> float:
    return max(shift_ratio(shift.delta or 0.0) for shift in sketch.norms())


def test_predropout_shifts_less_than_postdropout() -> None:
    assert worst(residual(9, 64, 0.3, "pre")) < worst(residual(9, 64, 0.3, "post"))


def test_wide_residual_networks_stay_under_the_warning_and_narrow_ones_do_not() -> None:
    assert worst(residual(12, 160, 0.3)) < 1.05
    assert 1.1 < worst(residual(18, 16, 0.3)) < 1.25


def test_average_shift_ratios_are_of_the_published_size() -> None:
    # WRN-28-10 with dropout before the last convolution, Li et al. 2019, Table 2; groups of 160, 320, 640 channels.
    for rate, published in ((0.1, 1.0035), (0.3, 1.0065), (0.5, 1.0139), (0.7, 1.0333)):
        norms = [shift for channels in (160, 320, 640) for shift in residual(4, channels, rate).norms()]
        average = sum(shift_ratio(shift.delta or 0.0) for shift in norms) / len(norms)
        assert 0.4 < (average - 1.0) / (published - 1.0) < 1.6


def test_a_stream_collects_the_noise_of_every_block_and_all_are_named() -> None:
    shift = residual(6, 16, 0.3, "post").norms()[-1]
    assert len(shift.sources) == 6
    assert shift.delta is not None
    assert all(source.delta > shift.delta for source in shift.sources)
    assert math.fsum(source.share for source in shift.sources) == pytest.approx(1.0)


def test_very_deep_streams_name_the_largest_sources_and_keep_all_noise() -> None:
    few, many = residual(20, 64, 0.3, "post").norms()[-1], residual(300, 64, 0.3, "post").norms()[-1]
    assert many.delta == pytest.approx(few.delta, rel=0.05)
    assert 0 < len(many.sources) < 100
    assert math.fsum(source.share for source in many.sources) == pytest.approx(1.0)


def test_stochastic_depth_is_felt_by_the_next_norm_of_the_stream() -> None:
    assert worst(residual(6, 640, 0.2, "post", stochastic_depth=True)) > 1.1


def test_dense_connections_average_over_channels() -> None:
    def concatenated(clean_channels: int) -> float:
        sketch = Sketch()
        old = sketch.add(NORM, shape=(2, clean_channels, 8, 8))
        sketch.stack(RELU, conv(64))
        new = sketch.add(drop(0.5), shape=(2, 16, 8, 8))
        sketch.add(ops.Concat(), old, new)
        sketch.add(NORM)
        return sketch.norms()[-1].delta or 0.0

    # Half of the channels have twice the variance in training.
    assert concatenated(16) == pytest.approx(1 / 1.5)
    assert concatenated(48) == pytest.approx(1 / 1.25)


def test_a_gate_passes_the_noise_of_what_it_scales_and_of_itself() -> None:
    def gated(signal_rate: float, gate_rate: float) -> NormShift:
        sketch = Sketch()
        x = sketch.add(NORM)
        signal = sketch.add(drop(signal_rate), x, name="on signal") if signal_rate else x
        sketch.add(drop(gate_rate), x, name="on gate")
        gate = sketch.stack(conv(64), ops.Activation("sigmoid")).last
        sketch.add(ops.Multiply(), signal, gate)
        sketch.add(NORM)
        return sketch.norms()[-1]

    assert gated(0.0, 0.0).delta == 1.0
    assert gated(0.5, 0.0).delta == pytest.approx(0.5)
    assert 0.9 < (gated(0.0, 0.5).delta or 0.0) < 1.0
    assert [source.dropout for source in gated(0.5, 0.5).sources] == ["on signal", "on gate"]


# What ends or hides a path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", [LAYER_NORM, NORM, ops.BatchNorm("BatchNorm1d", 8, tracks=False)])
def test_a_norm_between_ends_the_path(between: Op) -> None:
    shift = last(drop(0.5), between, RELU, conv(8), NORM)
    assert (shift.delta, shift.sources) == (1.0, ())


def test_a_norm_that_does_not_remember_is_not_predicted() -> None:
    sketch = Sketch().stack(drop(0.5), LAYER_NORM, ops.BatchNorm("BatchNorm1d", 8, tracks=False))
    sketch.add(NORM, training=False)
    assert sketch.norms() == []


def test_a_frozen_norm_passes_the_shift_on() -> None:
    sketch = Sketch().stack(NORM, RELU, drop(0.5))
    sketch.add(NORM, training=False)
    sketch.add(NORM)
    assert sketch.norms()[-1].delta == pytest.approx(delta(NORM, RELU, drop(0.5), NORM))


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_dropouts_that_drop_nothing_shift_nothing(rate: float, training: bool) -> None:
    sketch = Sketch().stack(NORM, RELU)
    sketch.add(drop(rate), training=training)
    sketch.stack(conv(16), NORM)
    assert [(shift.delta, shift.sources) for shift in sketch.norms()] == [(1.0, ()), (1.0, ())]


def test_nothing_is_guessed_about_what_an_opaque_operation_does_to_noise() -> None:
    shift = last(NORM, drop(0.5), OPAQUE, conv(16), NORM)
    assert (shift.delta, shift.sources, shift.unknown) == (None, (), ("opaque3",))
    clean = last(drop(0.5), NORM, OPAQUE, conv(16), NORM)
    assert (clean.delta, clean.unknown) == (1.0, ())


def test_a_known_source_is_named_beside_an_opaque_one() -> None:
    sketch = Sketch().stack(NORM)
    dropped = sketch.add(drop(0.5), name="known")
    opaque = sketch.add(OPAQUE, dropped, name="opaque")
    sketch.add(ADD, dropped, opaque)
    sketch.add(NORM)
    shift = sketch.norms()[-1]
    assert (shift.delta, shift.unknown) == (None, ("opaque",))
    assert [(source.dropout, source.share) for source in shift.sources] == [("known", 1.0)]


def test_integers_carry_no_noise() -> None:
    assert last(NORM, drop(0.5), ops.Discrete("argmax"), ops.Lookup("Embedding"), NORM).delta == 1.0


def test_a_norm_of_constants_does_not_shift() -> None:
    sketch = Sketch()
    sketch.add(linear(8), sketch.add(ops.Constant(random=True), name="constant"))
    sketch.add(NORM)
    assert sketch.norms()[-1].delta == 1.0


def test_dropped_weights_shift_like_dropped_inputs() -> None:
    sketch = Sketch()
    x = sketch.add(NORM)
    sketch.nodes.append(Node("weight", "weight", ops.Constant()))
    weight = sketch.add(drop(0.5), "weight", name="drop")
    sketch.add(linear(64), x, weight)
    sketch.add(NORM)
    assert sketch.norms()[-1].delta == pytest.approx(delta(NORM, drop(0.5), linear(64), NORM))
    assert [source.dropout for source in sketch.norms()[-1].sources] == ["drop"]


def test_a_dropout_of_rate_one_is_a_finite_disaster() -> None:
    shift = last(NORM, RELU, drop(1.0), conv(16), NORM)
    assert shift.delta == 1e6
    assert shift.sources[0].share == 1.0


@pytest.mark.parametrize(
    "layer",
    [
        ops.Attention("MultiheadAttention", 64, drop_rate=0.3),
        ops.Recurrent("LSTM", 64, layers=2, drop_rate=0.3),
        ops.Attention("MultiheadAttention", 64, drop_rate=1.0),
    ],
)
def test_layers_that_drop_by_themselves_are_sources(layer: Op) -> None:
    shift = last(NORM, layer, NORM)
    assert shift.delta is not None
    assert shift_ratio(shift.delta) > 1.05
    assert [source.dropout for source in shift.sources] == [f"{type(layer).__name__.lower()}2"]
    sketch = Sketch()
    sketch.add(layer, training=False)
    sketch.add(NORM)
    assert sketch.norms()[-1].delta == 1.0


# Any graph --------------------------------------------------------------------------------------------------------


def test_evidence_is_prior_and_norms_come_in_execution_order() -> None:
    shifts = predict(Graph(tuple(residual(2, 16, 0.3).nodes)))
    assert shifts.evidence is Evidence.PRIOR
    assert list(shifts.norms) == [
        node.name for node in residual(2, 16, 0.3).nodes if isinstance(node.op, ops.BatchNorm)
    ]


rates = st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.9, 1.0])
operations = st.one_of(
    st.builds(drop, rates, st.sampled_from(Granularity), alpha=st.booleans()),
    st.sampled_from(
        [
            *(NORM, RELU, GELU, TANH, LAYER_NORM, ADD, OPAQUE, ops.Multiply(), ops.Concat(), ops.MatMul()),
            *(conv(4), linear(64), pool(Reduce.MAX), pool(Reduce.MEAN), pool(Reduce.MAX, None, everywhere=True)),
            *(ops.Rearrange("view"), ops.Scale("neg"), ops.Softmax("softmax"), ops.Statistic("sum"), ops.Constant()),
            *(ops.Activation("exp"), ops.Activation("square"), ops.Activation("mystery"), ops.Resample("bilinear")),
            *(ops.Lookup("Embedding"), ops.Discrete("argmax"), ops.Attention("sdpa", None, 0.1), ops.Output()),
        ]
    ),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    sketch = Sketch()
    for _ in range(draw(st.integers(1, 14))):
        names = [node.name for node in sketch.nodes]
        inputs = draw(st.lists(st.sampled_from(names[-3:]), min_size=1, max_size=2))
        sketch.add(draw(operations), *inputs, training=draw(st.integers(0, 5)) > 0)
    sketch.add(NORM)
    return Graph(tuple(sketch.nodes))


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_every_graph_has_finite_shifts_with_shares_that_add_up(graph: Graph) -> None:
    for shift in predict(graph).norms.values():
        assert (shift.delta is None) == bool(shift.unknown)
        if shift.delta is not None:
            assert 0.0 < shift.delta < math.inf
        if shift.sources:
            assert math.fsum(source.share for source in shift.sources) == pytest.approx(1.0)
            assert all(0.0 < source.share <= 1.0 and 0.0 < source.delta < math.inf for source in shift.sources)
            assert all(one.share >= other.share - 1e-8 for one, other in pairwise(shift.sources))
        sources = {source.dropout for source in shift.sources}
        assert all(graph[name].drops or isinstance(graph[name].op, ops.Attention) for name in sources)
        if not sources and not shift.unknown:
            assert shift.delta == 1.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([RELU, GELU, conv(16), pool(Reduce.MAX), pool(Reduce.MEAN)]), max_size=4))
def test_a_vanishing_drop_rate_shifts_nothing_and_a_higher_one_more(stacked: list[Op]) -> None:
    assert delta(NORM, drop(1e-9), *stacked, NORM) == pytest.approx(1.0, abs=1e-6)
    low, high = (shift_ratio(delta(NORM, RELU, drop(rate), *stacked, NORM)) for rate in (0.05, 0.3))
    assert low <= high + 1e-9
