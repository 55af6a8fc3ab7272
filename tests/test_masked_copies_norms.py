"""Every sort of norm in a masked-copies run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated import (
    IMAGE,
    VECTOR,
    assert_close,
    assert_shares_add_up,
    last,
    less_work,
    mlp,
    one_thread,
    predicted,
    settled,
    simulated,
    smooth,
)
from small_models import Lambda
from torch import Tensor, nn

__all__ = ["less_work", "one_thread"]  # fixtures for all of them


def test_a_frozen_norm_passes_with_what_it_stored() -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.2, "relu", 24, 24, 24), VECTOR)
    frozen = model.get_submodule("5").eval()
    frozen.running_var.mul_(2.0)
    model.get_submodule("9").reset_running_stats()
    with torch.no_grad():
        for _ in range(8):
            model(smooth(256, VECTOR))
    shifts = predicted(model, VECTOR)
    assert list(shifts.norms) == ["1", "9"]
    assert_close(shifts, simulated(model, VECTOR), 0.1)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(24, track_running_stats=False), nn.LayerNorm(24), nn.GroupNorm(4, 24)], ids=repr
)
def test_norms_without_memory_use_their_own_statistics(norm: nn.Module) -> None:
    torch.manual_seed(0)
    parts = [nn.Linear(16, 24), nn.Dropout(0.5), norm, nn.ReLU(), nn.Linear(24, 24), nn.BatchNorm1d(24)]
    model = settled(nn.Sequential(*parts), VECTOR)
    shifts = predicted(model, VECTOR)
    assert list(shifts.norms) == ["5"]
    assert_close(shifts, simulated(model, VECTOR), 0.1)


def test_an_instance_norm_with_memory_is_judged_by_the_variances_of_samples() -> None:
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(12, track_running_stats=True, momentum=0.02)
    layers = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Dropout(0.4))
    model = nn.Sequential(*layers, norm)
    with torch.no_grad():
        for _ in range(150):
            model(smooth(64, IMAGE))
        seen = layers.eval()(smooth(1024, IMAGE)).flatten(2).var(2)
    assert norm.running_var is not None
    truth = float(seen.mean() / norm.running_var.mean())
    assert last(predicted(model.train(), IMAGE)).delta == pytest.approx(truth, rel=0.15)


def test_a_norm_called_twice_is_two_nodes() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.bn(m.drop(m.second(F.relu(m.bn(m.drop(m.first(x)))))))

    torch.manual_seed(0)
    parts = {"first": nn.Linear(16, 24), "second": nn.Linear(24, 24), "bn": nn.BatchNorm1d(24)}
    shifts = predicted(settled(Lambda(forward, **parts, drop=nn.Dropout(0.3)), VECTOR), VECTOR)
    assert list(shifts.norms) == ["bn", "bn@2"]
    assert [source.dropout for source in shifts.norms["bn"].sources] == ["drop"]
    assert {source.dropout for source in shifts.norms["bn@2"].sources} == {"drop", "drop@2"}
    assert_shares_add_up(shifts)


def test_a_norm_that_does_not_see_the_batch_on_axis_0_has_no_delta() -> None:
    torch.manual_seed(0)
    parts = {"linear": nn.Linear(16, 24), "drop": nn.Dropout(0.5), "bn": nn.BatchNorm1d(24), "after": nn.Linear(24, 8)}

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.bn(m.drop(m.linear(x)).permute(1, 2, 0)).permute(2, 0, 1)
        return m.bn2(m.after(x).flatten(0, 1))

    model = Lambda(forward, **parts, bn2=nn.BatchNorm1d(8))
    model.train()
    model(torch.randn(24, 24, 16))
    shifts = predicted(model, (24, 16))
    assert shifts.norms["bn"].delta is None
    assert shifts.norms["bn2"].delta is not None


def test_tokens_flattened_into_the_batch() -> None:
    torch.manual_seed(0)
    parts = {"linear": nn.Linear(16, 24), "drop": nn.Dropout(0.5), "bn": nn.BatchNorm1d(24)}
    model = Lambda(lambda m, x: m.bn(m.drop(m.linear(x)).reshape(-1, 24)), **parts)
    norm = model.get_submodule("bn")
    norm.momentum = None
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(128, 5, 16))
    assert last(predicted(model, (5, 16))).delta == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 0.0])
def test_channels_without_usable_statistics_are_left_out(broken: float) -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.5, "relu", 24, 24, 24), VECTOR)
    before = predicted(model, VECTOR)
    model.get_submodule("5").running_var[:3] = broken
    after = predicted(model, VECTOR)
    assert after.norms["5"].per_channel[:3] == (None, None, None)
    assert after.norms["5"].delta == pytest.approx(before.norms["5"].delta, rel=0.1)
    if broken != 0.0:  # a channel that never varied is silent, one of unknown variance is not
        assert after.norms["9"].delta == pytest.approx(before.norms["9"].delta, rel=0.15)
    model.get_submodule("5").running_var.fill_(broken)
    gone = predicted(model, VECTOR)
    assert gone.norms["5"].delta is None
    assert gone.norms["9"].delta is not None
