"""What is assumed of typical layers: limits, directions, published values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from graphs import bn, chain, dropout
from hypothesis import given
from hypothesis import strategies as st

from dropcheck.graph import Graph
from dropcheck.shift import predict, priors

FAN_INS = st.integers(1, 100_000)


@given(FAN_INS, st.integers(1, 49))
def test_a_layer_amplifies_its_signal_more_than_noise_and_at_most_by_its_inputs(fan_in: int, positions: int) -> None:
    fan_in *= positions
    signal = priors.signal_amplification(fan_in, positions)
    noise = priors.mixed_amplification(fan_in, positions)
    assert 1.0 <= noise <= signal <= max(fan_in, 1.0 + 1e-9)


def test_a_single_input_has_nothing_to_agree_with() -> None:
    assert priors.typical_cos2_theta(1) == 1.0
    assert priors.signal_amplification(1) == priors.mixed_amplification(1) == 1.0


@given(FAN_INS, FAN_INS)
def test_wider_layers_amplify_more(one: int, other: int) -> None:
    narrow, wide = sorted((one, other))
    assert priors.signal_amplification(narrow) <= priors.signal_amplification(wide)
    assert priors.typical_cos2_theta(narrow) >= priors.typical_cos2_theta(wide)


@pytest.mark.parametrize(
    ("published", "widths"), [(0.0355, (144, 288, 576)), (0.0229, (1440, 2880, 5760)), (0.0154, (108, 216, 432))]
)
def test_cos2_theta_is_of_the_published_size(published: float, widths: tuple[int, ...]) -> None:
    # Li et al. 2019, Table 1, CIFAR10: PreResNet-110, WRN-28-10, DenseNet-BC (its 3×3 convolutions).
    typical = sum(priors.typical_cos2_theta(width, positions=9) for width in widths) / len(widths)
    assert 0.5 < typical / published < 2.0


@given(st.integers(1, 10_000))
def test_windows_never_count_more_positions_than_they_have(window: int) -> None:
    assert 1.0 <= priors.rival_positions(window) <= window
    assert 0.0 < priors.pooled_variance(window) <= 1.0


def test_a_layer_of_unknown_width_is_a_typical_one() -> None:
    assert priors.signal_amplification(None) == priors.signal_amplification(priors.FAN_IN)


def test_dropout_that_evaluation_has_too_shifts_nothing() -> None:
    graph = chain(drop=dropout(0.5), norm=bn())
    always = Graph(tuple(replace(one, random_in_eval=True) if one.name == "drop" else one for one in graph))
    assert predict(graph).norms["norm"].delta == pytest.approx(0.5, abs=0.15)
    assert (predict(always).norms["norm"].delta, predict(always).norms["norm"].sources) == (1.0, ())
