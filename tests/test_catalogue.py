"""The catalogue: semantics, not names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import Lambda, captured, only
from torch import nn
from torch.nn import functional as F

from dropcheck import ops
from dropcheck.capture.functions import FUNCTIONS
from dropcheck.capture.layers import MODULES
from dropcheck.capture.names import plain_name
from dropcheck.ops import Granularity, Reduce


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean([-1, -2], keepdim=True),
        lambda x: torch.mean(x, dim=(2, 3)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
        lambda x: F.avg_pool2d(x, x.shape[2:]),
        lambda x: F.avg_pool2d(x, 8),
        lambda x: x.flatten(2).mean(2),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.AvgPool2d(8),
    ],
)
def test_every_spelling_of_a_global_average_pool(pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model = Lambda(lambda self, x: pool(x))
    if isinstance(pool, nn.Module):
        model.pool = pool
    assert only(captured(model), ops.Pool).op == ops.Pool(Reduce.MEAN, 64, is_global=True)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (nn.MaxPool2d(2), ops.Pool(Reduce.MAX, 4)),
        (nn.AvgPool2d((1, 2)), ops.Pool(Reduce.MEAN, 2)),
        (nn.AdaptiveAvgPool2d(4), ops.Pool(Reduce.MEAN, 4)),
        (nn.AdaptiveMaxPool2d(1), ops.Pool(Reduce.MAX, 64, is_global=True)),
    ],
)
def test_windows_of_local_pools(pool: nn.Module, expected: ops.Pool) -> None:
    assert only(captured(nn.Sequential(pool)), ops.Pool).op == expected


@pytest.mark.parametrize(
    ("bounds", "kind"),
    [
        ((0, None), "relu"),
        ((1e-6, 5.0), "relu"),
        ((-1, 1), "hardtanh"),
        ((0.0, 1.0), "hardtanh"),
        ((-10.0, 10.0), "clamp"),
        ((None, 20.0), "clamp"),
    ],
)
def test_a_clamp_is_what_its_bounds_make_of_it(bounds: tuple[float | None, float | None], kind: str) -> None:
    model = Lambda(lambda self, x: x.clamp(*bounds))
    assert only(captured(model), ops.Activation).op == ops.Activation(kind)


def test_a_mean_over_channels_is_no_pool() -> None:
    assert only(captured(Lambda(lambda self, x: x.mean(1, keepdim=True))), ops.Statistic).op == ops.Statistic("mean")


class OwnForwardNorm(nn.BatchNorm2d):
    """As norm-and-activation layers of libraries do it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training)
        return F.relu(y)


class Renamed(nn.BatchNorm2d):
    pass


@pytest.mark.parametrize("norm", [OwnForwardNorm(3), Renamed(3), nn.SyncBatchNorm(3), nn.LazyBatchNorm2d()])
def test_a_subclass_of_batch_norm_is_a_batch_norm(norm: nn.Module) -> None:
    node = only(captured(nn.Sequential(norm)), ops.BatchNorm)
    assert isinstance(node.op, ops.BatchNorm)
    assert (node.path, node.op.channels, node.op.tracks, node.remembers) == ("0", 3, True, True)
    assert node.op.kind.removeprefix("Lazy") == type(norm).__name__.removeprefix("Lazy")


def test_norms_that_keep_nothing_of_training() -> None:
    graph = captured(
        nn.Sequential(
            nn.GroupNorm(1, 3), nn.InstanceNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(8)
        )
    )
    assert [node.blocks for node in graph if isinstance(node.op, ops.LocalNorm | ops.BatchNorm)] == [True] * 4


def test_instance_norm_that_tracks_remembers() -> None:
    assert only(captured(nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True))), ops.BatchNorm).remembers


class SpatialDropout(nn.Dropout2d):
    pass


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Dropout(0.3), ops.Dropout("Dropout", 0.3)),
        (nn.Dropout2d(0.3), ops.Dropout("Dropout2d", 0.3, Granularity.CHANNEL)),
        (nn.AlphaDropout(0.3), ops.Dropout("AlphaDropout", 0.3, alpha=True)),
        (SpatialDropout(0.3), ops.Dropout("SpatialDropout", 0.3, Granularity.CHANNEL, base="Dropout2d")),
        (Lambda(lambda s, x: F.dropout(x, 0.3, s.training)), ops.Dropout("dropout", 0.3)),
        (Lambda(lambda s, x: torch.dropout(x, 0.3, s.training)), ops.Dropout("dropout", 0.3)),
        (Lambda(lambda s, x: F.dropout2d(x, p=0.3)), ops.Dropout("dropout2d", 0.3, Granularity.CHANNEL)),
    ],
)
def test_dropouts(layer: nn.Module, expected: ops.Dropout) -> None:
    node = only(captured(layer if isinstance(layer, Lambda) else nn.Sequential(layer)), ops.Dropout)
    assert node.op == expected
    assert node.training


def test_what_drops_nothing() -> None:
    held = nn.Sequential(nn.Dropout(0.5))
    held[0].eval()
    assert not only(captured(held), ops.Dropout).drops
    assert not only(captured(nn.Sequential(nn.Dropout(0.0))), ops.Dropout).drops
    assert not only(captured(Lambda(lambda s, x: F.dropout(x, 0.5, training=False))), ops.Dropout).drops


def test_a_model_in_evaluation_mode_is_read_as_it_trains() -> None:
    assert only(captured(nn.Sequential(nn.Dropout(0.5)).eval()), ops.Dropout).drops


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 8, 8), 18),
        (nn.Conv1d(4, 8, 5), (2, 4, 8), 20),
        (nn.Linear(7, 3), (2, 7), 7),
        (nn.ConvTranspose2d(4, 8, 4, stride=2), (2, 4, 8, 8), 16),
        (nn.LazyConv2d(8, 3), (2, 4, 8, 8), 36),
        (Lambda(lambda s, x: x @ torch.ones(7, 3)), (2, 7), 7),
    ],
)
def test_fan_in(layer: nn.Module, shape: tuple[int, ...], fan_in: int) -> None:
    model = layer if isinstance(layer, Lambda) else nn.Sequential(layer)
    op = only(captured(model, shape), ops.Weight).op
    assert isinstance(op, ops.Weight)
    assert op.fan_in == fan_in


def test_every_row_names_something_of_torch() -> None:
    import operator

    places = [torch, torch.Tensor, torch.linalg, torch.special, torch.nn.functional, torch._C._nn, operator]
    known = {
        plain_name(getattr(place, name)) for place in places for name in dir(place) if callable(getattr(place, name))
    }
    known |= {name.strip("_") for place in places for name in dir(place)} | set(dir(torch))
    known |= {f"fft_{name}" for name in dir(torch.fft)} | set(dir(torch.Tensor))
    ours = {"input", "output", "parameter"}
    assert sorted(set(FUNCTIONS) - known - ours) == []
    assert [name for name in MODULES if not hasattr(nn, name)] == []


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.relu, "relu"),
        (torch.relu_, "relu"),
        (torch.Tensor.relu_, "relu"),
        (torch.Tensor.__radd__, "add"),
        (torch.Tensor.__iadd__, "add"),
        (torch.Tensor.__rsub__, "rsub"),
        (torch.Tensor.__getitem__, "getitem"),
        (torch.Tensor.T.__get__, "T"),
        (torch.special.expm1, "expm1"),
    ],
)
def test_every_spelling_of_a_function_has_one_name(function: Callable[..., Any], name: str) -> None:
    assert plain_name(function) == name
