"""Shifts predicted from running statistics and weights, against the same nets run on the data they saw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import (
    ACTIVATIONS,
    IMAGE,
    VECTOR,
    assert_close,
    assert_shares_add_up,
    convnet,
    last,
    less_work,
    mlp,
    one_thread,
    predicted,
    settled,
    simulated,
)
from small_models import Lambda
from torch import Tensor, nn

__all__ = ["less_work", "one_thread"]  # fixtures for all of them


NETS = st.tuples(
    st.sampled_from(["a", "after activation", "b"]),
    st.sampled_from([0.1, 0.3, 0.5]),
    st.sampled_from(sorted(ACTIVATIONS)),
)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(net=NETS, widths=st.lists(st.sampled_from([24, 48]), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_random_mlps(net: tuple[str, float, str], widths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = settled(mlp(*net, *widths), VECTOR)
    shifts = predicted(model, VECTOR)
    assert_close(shifts, simulated(model, VECTOR), 0.1)
    assert_shares_add_up(shifts)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(net=NETS, widths=st.lists(st.sampled_from([8, 16]), min_size=1, max_size=2), seed=st.integers(0, 99))
def test_random_convnets(net: tuple[str, float, str], widths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = settled(convnet(*net, *widths), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.12)
    assert_shares_add_up(shifts)


def test_concatenated_features() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.conv(x)
        x = torch.cat([x, m.drop1(m.grow1(F.relu(m.bn1(x))))], 1)
        x = torch.cat([x, m.drop2(m.grow2(F.relu(m.bn2(x))))], dim=1)
        return m.bn3(x)

    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(3, 8, 3, padding=1), "bn1": nn.BatchNorm2d(8)}
    parts |= {"grow1": nn.Conv2d(8, 6, 3, padding=1), "drop1": nn.Dropout(0.3), "bn2": nn.BatchNorm2d(14)}
    parts |= {"grow2": nn.Conv2d(14, 6, 3, padding=1), "drop2": nn.Dropout(0.5), "bn3": nn.BatchNorm2d(20)}
    model = settled(Lambda(forward, **parts), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert_shares_add_up(shifts)
    assert {source.dropout for source in shifts.norms["bn3"].sources} == {"drop1", "drop2"}
    untouched_part = shifts.norms["bn3"].per_channel[:8]
    assert untouched_part == pytest.approx([1.0] * 8, rel=0.05)


def test_max_pooling_behind_dropout_is_worse_than_without() -> None:
    def net(*between: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        return settled(
            nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Dropout(0.3), *between, nn.BatchNorm2d(12)), IMAGE
        )

    pooled, plain = net(nn.MaxPool2d(2)), net()
    assert_close(predicted(pooled, IMAGE), simulated(pooled, IMAGE), 0.08)
    assert_close(predicted(plain, IMAGE), simulated(plain, IMAGE), 0.08)
    assert last(predicted(pooled, IMAGE)).delta < 0.95 * last(predicted(plain, IMAGE)).delta


def test_squeeze_and_excitation() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.conv2(m.drop(F.relu(m.bn1(m.conv1(x)))))
        return m.bn2(x * torch.sigmoid(m.gate(x.mean((2, 3), keepdim=True))))

    torch.manual_seed(0)
    parts = {"conv1": nn.Conv2d(3, 12, 3), "conv2": nn.Conv2d(12, 12, 3), "gate": nn.Conv2d(12, 12, 1)}
    model = settled(
        Lambda(forward, **parts, drop=nn.Dropout(0.5), bn1=nn.BatchNorm2d(12), bn2=nn.BatchNorm2d(12)), IMAGE
    )
    assert_close(predicted(model, IMAGE), simulated(model, IMAGE), 0.08)


def test_case_a_is_the_closed_form() -> None:
    """Li et al. 2019, Eq. 6 inverted: v = p (R_v + R_m²) − R_m², Δ = v / R_v."""
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.3), nn.BatchNorm1d(32)), VECTOR)
    norm = model.get_submodule("2")
    expected = (0.7 * (norm.running_var + norm.running_mean**2) - norm.running_mean**2) / norm.running_var
    (shift,) = predicted(model, VECTOR).norms.values()
    assert shift.per_channel == pytest.approx(expected.tolist(), rel=0.15)
    assert shift.delta == pytest.approx(float((expected * norm.running_var).mean() / norm.running_var.mean()), rel=0.03)


@pytest.mark.parametrize("case", ["a", "after activation", "b"])
def test_without_dropout_there_is_no_shift(case: str) -> None:
    torch.manual_seed(0)
    nothing = predicted(settled(mlp(case, 0.0, "relu", 24, 24), VECTOR), VECTOR)
    assert [(shift.delta, shift.sources) for shift in nothing.norms.values()] == [(1.0, ())] * 2
    little = predicted(settled(mlp(case, 1e-3, "relu", 24, 24), VECTOR), VECTOR)
    assert [shift.delta for shift in little.norms.values()] == pytest.approx([1.0, 1.0], abs=0.02)


def test_a_layer_scaled_together_with_its_statistics_changes_nothing() -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.5, "gelu", 24, 24, 24), VECTOR)
    before = predicted(model, VECTOR)
    with torch.no_grad():
        layer, norm = model.get_submodule("4"), model.get_submodule("5")
        layer.weight *= 8.0
        layer.bias *= 8.0
        norm.running_mean *= 8.0
        norm.running_var *= 64.0
    after = predicted(model, VECTOR)
    for name, shift in before.norms.items():
        assert after.norms[name].delta == pytest.approx(shift.delta, rel=0.01)


def test_permuted_channels_permute_the_answer() -> None:
    torch.manual_seed(0)
    model = settled(convnet("b", 0.5, "relu", 8, 16), IMAGE)
    before = last(predicted(model, IMAGE))
    order = torch.randperm(16)
    with torch.no_grad():
        for tensor in (*model.get_submodule("4").parameters(), *model.get_submodule("5").buffers()):
            if tensor.dim() > 0:
                tensor.copy_(tensor[order])
    after = last(predicted(model, IMAGE))
    assert after.per_channel == pytest.approx([before.per_channel[i] for i in order], rel=0.1)
    assert after.delta == pytest.approx(before.delta, rel=0.02)
