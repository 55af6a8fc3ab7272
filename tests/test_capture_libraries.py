"""Layers as popular libraries define them: known by class name, by structure or by what their forward calls."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from small_models import Kernel, Lambda, kinds, only
from torch import Tensor, nn
from torch.nn import functional as F

from dropcheck import ops
from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph
from dropcheck.ops import Granularity

MAP = (2, 8, 6, 6)


def graph_of(model: nn.Module, shape: tuple[int, ...] = MAP) -> Graph:
    example = ExampleInput((torch.rand(shape),), given=True)
    return capture(model, [example], twin=lambda: deepcopy(model)).graph


# Dropouts ------------------------------------------------------------------------------------------------------------


class DropPath(nn.Module):
    def __init__(self, drop_prob: Any) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.drop_prob or not self.training:
            return x
        return x * x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.drop_prob) / (1 - self.drop_prob)


class BeitDropPath(nn.Module):
    def __init__(self, drop_prob: Any) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, hidden_states: Tensor) -> Tensor:
        return DropPath.forward(self, hidden_states)  # type: ignore[arg-type]


class StochasticDepth(nn.Module):
    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x: Tensor) -> Tensor:
        size = (len(x), 1, 1, 1) if self.mode == "row" else (1,)
        return x * torch.empty(size).bernoulli_(1 - self.p) / (1 - self.p) if self.training else x


class DropBlock2d(nn.Module):
    def __init__(self, p: float, block_size: int) -> None:
        super().__init__()
        self.p, self.block_size = p, block_size

    def forward(self, x: Tensor) -> Tensor:
        return x if not self.training else x * (1 - F.max_pool2d((torch.rand_like(x) < 0.01).float(), 3, 1, 1))


class StableDrop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:  # type: ignore[override]
        mask = (1 - torch.empty_like(x).bernoulli_(1 - p)).to(torch.bool)
        return x.masked_fill(mask, 0) * (1 / (1 - p))


class StableDropout(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        return StableDrop.apply(x, self.drop_prob) if self.training else x


@pytest.mark.parametrize(
    ("layer", "rate", "granularity"),
    [
        (DropPath(0.1), 0.1, Granularity.SAMPLE),
        (BeitDropPath(0.2), 0.2, Granularity.SAMPLE),
        (BeitDropPath(torch.tensor(0.25)), 0.25, Granularity.SAMPLE),
        (DropPath(None), 0.0, Granularity.SAMPLE),
        (StochasticDepth(0.3, "row"), 0.3, Granularity.SAMPLE),
        (StochasticDepth(0.3, "batch"), 0.3, Granularity.SAMPLE),
        (DropBlock2d(0.1, 7), 0.1, Granularity.BLOCK),
        (StableDropout(0.1), 0.1, Granularity.ELEMENT),
    ],
)
def test_dropouts(layer: nn.Module, rate: float, granularity: Granularity) -> None:
    node = only(graph_of(nn.Sequential(layer)), ops.Dropout)
    assert (node.path, node.op) == ("0", ops.Dropout(type(layer).__name__, rate, granularity))
    assert node.random_in_eval is (False if rate else None)


def test_a_drop_rate_that_is_no_number_is_not_understood() -> None:
    layer = DropPath([0.1, 0.2])
    layer.eval()
    assert only(graph_of(nn.Sequential(nn.ReLU(), layer)), ops.Opaque).op == ops.Opaque("DropPath")


class ResidualDropPath(nn.Module):
    """A name that ends like a dropout's, around layers: one has to look inside."""

    def __init__(self) -> None:
        super().__init__()
        self.p, self.conv = 0.1, nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def test_what_has_layers_inside_is_looked_into() -> None:
    assert kinds(graph_of(nn.Sequential(ResidualDropPath()))) == ["Input", "Weight", "Add", "Output"]


# Norms ---------------------------------------------------------------------------------------------------------------


class BatchNormAct2d(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Dropout2d(0.1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise ValueError(f"expected 4D input, got {x.ndim}D")
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum)  # type: ignore[arg-type]
        return self.act(self.drop(x))


def test_norm_dropout_and_activation_in_one_layer() -> None:
    nodes = list(graph_of(nn.Sequential(nn.Conv2d(8, 8, 1), BatchNormAct2d(8))))
    assert [(node.path, type(node.op).__name__) for node in nodes[1:-1]] == [
        ("0", "Weight"),
        ("1", "BatchNorm"),
        ("1.drop", "Dropout"),
        ("1.act", "Activation"),
    ]
    assert nodes[2].op == ops.BatchNorm("BatchNormAct2d", 8)


class Statistics(nn.Module):
    """What norms keep that are written from scratch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.running_var: Tensor
        self.running_mean: Tensor


class FrozenBatchNorm2d(Statistics):
    def forward(self, x: Tensor) -> Tensor:
        scale = (self.weight * (self.running_var + 1e-5).rsqrt()).view(1, -1, 1, 1)
        return x * scale + (self.bias.view(1, -1, 1, 1) - self.running_mean.view(1, -1, 1, 1) * scale)


class EvoNorm2dB0(Statistics):
    def forward(self, x: Tensor) -> Tensor:
        var = self.running_var
        if self.training:
            var = x.var(dim=(0, 2, 3), unbiased=False)
            self.running_var.copy_(self.running_var * 0.9 + var.detach() * 0.1)
        own = (x.var(dim=(2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt() + x
        return x / (var + 1e-5).sqrt().view(1, -1, 1, 1).expand_as(x).max(own) * self.weight.view(1, -1, 1, 1)


class MaskedBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        seen = (x != 0).float()
        mean = (x * seen).sum((0, 2, 3)) / seen.sum((0, 2, 3))
        var = ((x - mean[:, None, None]) ** 2 * seen).sum((0, 2, 3)) / seen.sum((0, 2, 3))
        if self.training:
            self.running_var.lerp_(var, 0.1)  # type: ignore[union-attr]
        return (x - mean[:, None, None]) / (var[:, None, None] + self.eps).sqrt()


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """apex's has the name of torch's."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
        return Kernel.apply(x)


class InPlaceABN(Statistics):
    def forward(self, x: Tensor) -> Tensor:
        return Kernel.apply(x)


@pytest.mark.parametrize("layer", [EvoNorm2dB0(8), MaskedBatchNorm(8), SyncBatchNorm(8), InPlaceABN(8)])
def test_what_keeps_running_statistics_is_a_batch_norm(layer: nn.Module) -> None:
    node = only(graph_of(nn.Sequential(layer)), ops.BatchNorm)
    assert (node.path, node.op) == ("0", ops.BatchNorm(type(layer).__name__, 8))
    assert node.remembers


def test_a_frozen_batch_norm_only_scales() -> None:
    assert kinds(graph_of(nn.Sequential(FrozenBatchNorm2d(8)))) == ["Input", "Scale", "Output"]


class WithActivation(FrozenBatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


def test_a_frozen_batch_norm_with_an_activation() -> None:
    found = kinds(graph_of(nn.Sequential(WithActivation(8))))
    assert found == ["Input", "Scale", "Scale", "Activation", "Output"]


class LlamaRMSNorm(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class LayerNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        return self.weight * (x - mean) / ((x - mean).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class FilterResponseNormTlu2d(LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-6) * self.weight, self.weight)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LlamaRMSNorm(8), (2, 5, 8)),
        (LayerNorm(8), MAP),
        (LayerNorm2d(8), MAP),
        (FilterResponseNormTlu2d(8), MAP),
    ],
)
def test_norms_that_keep_nothing(layer: nn.Module, shape: tuple[int, ...]) -> None:
    graph = graph_of(nn.Sequential(layer), shape)
    assert only(graph, ops.LocalNorm).blocks
    assert not graph.of(ops.Multiply, ops.Statistic, ops.Opaque)


class GRN(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        size = x.norm(p=2, dim=(1, 2), keepdim=True)
        return x * (size / (size.mean(-1, keepdim=True) + 1e-6)) + x


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


def test_gates_are_followed() -> None:
    graph = graph_of(nn.Sequential(GRN(), SqueezeExcite()))
    assert not graph.of(ops.Opaque)
    assert [node.path for node in graph.of(ops.Multiply)] == ["0/div", "0/mul", "1/mul"]


# Weight layers -------------------------------------------------------------------------------------------------------


class Conv2dSame(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class ScaledStdConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, 1)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [(Conv2dSame(8, 4, 3), 72), (Conv2dSame(8, 4, 3, groups=4), 18), (ScaledStdConv2d(8, 4, 3), 72)],
)
def test_convolutions_that_prepare_their_input_or_weights(layer: nn.Conv2d, fan_in: int) -> None:
    node = only(graph_of(nn.Sequential(layer)), ops.Weight)
    assert (node.path, node.op) == ("0", ops.Weight(type(layer).__name__, fan_in, 4, 9))


@pytest.mark.parametrize(
    "model",
    [
        nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.1), 2, enable_nested_tensor=False),
        Lambda(lambda s, x: s.layer(x, x), layer=nn.TransformerDecoderLayer(8, 2, 16, 0.1)),
        Lambda(lambda s, x: s.model(x, x), model=nn.Transformer(8, 2, 1, 1, 16, 0.1, batch_first=True)),
    ],
)
def test_transformers(model: nn.Module) -> None:
    graph = graph_of(model, (2, 5, 8))
    dropping = graph.of(ops.Dropout, ops.Attention)
    assert not graph.of(ops.Opaque)
    assert {node.op.drop_rate for node in dropping if isinstance(node.op, ops.Dropout | ops.Attention)} == {0.1}
    assert {node.random_in_eval for node in dropping} == {False}
