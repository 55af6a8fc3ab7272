"""Predicted shifts along residual and dense streams, what ends or hides a path, and any graph at all."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sketches import (
    ADD,
    GELU,
    LAYER_NORM,
    NORM,
    OPAQUE,
    RELU,
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
from dropcheck.graph import Graph, Node
from dropcheck.ops import Granularity, Op, Reduce
from dropcheck.shift import Evidence, NormShift, predict, shift_ratio

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


@settings(max_examples=100, deadline=None)
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
