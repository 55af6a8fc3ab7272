"""Dropout written by hand: what is one, with which rate and granularity, and what is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_models import IMAGE, Lambda, captured, kinds, only, recorded
from torch import Tensor, nn
from torch.nn import functional as F

from dropcheck import ops
from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph
from dropcheck.ops import Granularity

Function = Callable[[Tensor], Tensor]


def both_ways(function: Function) -> list[Graph]:
    """As symbolic tracing sees it, if it can follow it, and as a recorded run does."""
    return [captured(Lambda(lambda s, x: function(x))), recorded(Lambda(lambda s, x: function(x)))]


def drop_path(x: Tensor, drop_prob: float = 0.1) -> Tensor:
    keep = 1 - drop_prob
    mask = keep + torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
    mask.floor_()
    return x.div(keep) * mask


def stochastic_depth(x: Tensor) -> Tensor:
    noise = torch.empty([x.shape[0]] + [1] * (x.ndim - 1), dtype=x.dtype).bernoulli_(0.8)
    noise.div_(0.8)
    return x * noise


def block(x: Tensor) -> Tensor:
    seeds = (torch.rand(x.shape[0], 1, *x.shape[2:]) < 0.02).float()
    kept = 1 - F.max_pool2d(seeds, 3, stride=1, padding=1)
    return x * kept * kept.numel() / kept.sum()


def sampled(x: Tensor) -> Tensor:
    return x * torch.distributions.Bernoulli(0.7).sample(x.shape) / 0.7


ELEMENT, CHANNEL, SAMPLE, BLOCK = Granularity
MASKS: dict[str, tuple[Function, float, Granularity]] = {
    "floor of rand": (drop_path, 0.1, SAMPLE),
    "bernoulli in place": (stochastic_depth, 0.2, SAMPLE),
    "pooled": (block, 0.1663, BLOCK),
    "distribution": (sampled, 0.3, ELEMENT),
    "comparison": (lambda x: x * (torch.rand_like(x) > 0.3) / 0.7, 0.3, ELEMENT),
    "side by side": (lambda x: x * torch.cat([torch.rand_like(half) < 0.8 for half in x.chunk(2)]), 0.2, ELEMENT),
    "cast": (lambda x: (torch.rand(x.shape) >= 0.25).to(x.dtype).div(0.75) * x, 0.25, ELEMENT),
    "inverted": (lambda x: x * ~(torch.rand_like(x) < 0.2).to(x.device), 0.2, ELEMENT),
    "of the batch's shape": (lambda x: x * torch.bernoulli(torch.full((len(x), 1, 1, 1), 0.6)) / 0.6, 0.4, SAMPLE),
    "per channel": (lambda x: x * torch.bernoulli(torch.ones_like(x[..., :1, :1]) * 0.9) / 0.9, 0.1, CHANNEL),
    "per position": (lambda x: x * torch.bernoulli(torch.full_like(x[:, :1], 0.9)), 0.1, BLOCK),
    "coins": (lambda x: x.mul(torch.randint(0, 2, x.shape)), 0.5, ELEMENT),
    "dropout of ones": (lambda x: x * F.dropout2d(torch.ones_like(x[..., :1, :1]), 0.25), 0.25, CHANNEL),
    "masked_fill": (lambda x: x.masked_fill(torch.rand_like(x) < 0.2, 0.0) / 0.8, 0.2, ELEMENT),
    "where": (lambda x: torch.where(torch.rand_like(x) < 0.8, x / 0.8, torch.zeros_like(x)), 0.2, ELEMENT),
    "where not": (lambda x: torch.where(torch.rand_like(x) < 0.2, torch.zeros_like(x), x), 0.2, ELEMENT),
}  # fmt: skip
NOISES: dict[str, tuple[Function, float]] = {
    "Gaussian": (lambda x: x * (1 + 0.5 * torch.randn_like(x)), 0.2),  # Var[A] = 1/4 = q/p
    "Gaussian of mean 1": (lambda x: x * torch.empty_like(x).normal_(1.0, 0.5), 0.2),
    "normal": (lambda x: x * torch.normal(1.0, 0.5, size=x.shape), 0.2),
    "Uout": (lambda x: x + x * torch.empty_like(x).uniform_(-0.3, 0.3), 0.0291),  # Var[A] = β²/3 = 0.03
}


@pytest.mark.parametrize("name", MASKS)
def test_an_activation_times_a_random_mask_is_a_dropout(name: str) -> None:
    function, rate, granularity = MASKS[name]
    for graph in both_ways(function):
        assert only(graph, ops.Dropout).op == ops.Dropout("mask", rate, granularity)
        assert only(graph, ops.Dropout).training
        assert graph.of(ops.Multiply, ops.Constant) == ()


@pytest.mark.parametrize("name", NOISES)
def test_multiplicative_noise_has_the_rate_of_the_same_variance(name: str) -> None:
    function, rate = NOISES[name]
    for graph in both_ways(function):
        assert only(graph, ops.Dropout).op == ops.Dropout("noise", rate)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.randn_like(x),
        lambda x: x * torch.randn_like(x),
        lambda x: x.mean(1, keepdim=True) + x.exp() * torch.randn_like(x),  # the reparametrisation trick
        lambda x: x * (torch.rand_like(x) < x.sigmoid()),
        lambda x: x * torch.bernoulli(x.sigmoid()),
        lambda x: x * (x > 0),
        lambda x: x * torch.ones_like(x).bernoulli_(1.0),
        lambda x: x.masked_fill(torch.rand_like(x) < 0.1, -1e9),
        lambda x: x * torch.rand_like(x).softmax(1),
        lambda x: x[torch.randperm(len(x))],
        lambda x: F.conv2d(x, torch.rand(3, 3, 1, 1)),
    ],
    ids=["additive", "sign", "latent", "by data", "sampled", "relu", "never", "attention", "weights", "order", "conv"],
)
def test_what_is_no_dropout(function: Function) -> None:
    assert [graph.of(ops.Dropout) for graph in both_ways(function)] == [(), ()]


def test_a_mask_that_is_partly_written_over_is_not_known() -> None:
    def forward(x: Tensor) -> Tensor:
        mask = (torch.rand_like(x) < 0.5).float()
        mask[0] = 1
        return x * mask

    for graph in both_ways(forward):
        assert kinds(graph) == ["Input", "Constant", "Multiply", "Output"]
        assert only(graph, ops.Constant).op == ops.Constant(random=True)


def test_parameters_that_are_dropped_are_a_source_of_noise() -> None:
    model = nn.Linear(4, 4)
    graph = recorded(Lambda(lambda s, x: F.linear(x, F.dropout(s.fc.weight, 0.3, s.training)), fc=model), (2, 4))
    assert only(graph, ops.Dropout).drops
    assert only(graph, ops.Dropout).inputs == ()
    assert only(graph, ops.MatMul).inputs == ("input", only(graph, ops.Dropout).name)


def test_a_mask_is_one_dropout_however_often_it_is_read() -> None:
    def forward(x: Tensor) -> Tensor:
        mask = torch.rand_like(x) < 0.9
        return x * mask + x.exp() * mask

    for graph in both_ways(forward):
        assert [node.inputs for node in graph.of(ops.Dropout)] == [("input",), ("/exp",)]


class Droppy(nn.Module):
    """A dropout under a name nobody knows."""

    def __init__(self, rate: float = 0.2) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = x.data.new(*x.shape[:1], *(1,) * (x.dim() - 1)).bernoulli_(1 - self.rate)
        return x / (1 - self.rate) * kept.expand_as(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * (torch.rand_like(x) > 0.5)


def test_a_class_that_only_masks_its_input_is_a_dropout_layer() -> None:
    model = nn.Sequential(Droppy(), Block(), Droppy(0.0))
    graph = capture(model, [ExampleInput((torch.rand(IMAGE),))], twin=lambda: model).graph
    assert [(node.path, node.op, node.random_in_eval) for node in graph.of(ops.Dropout)] == [
        ("0", ops.Dropout("Droppy", 0.2, SAMPLE), False),
        ("1/mul", ops.Dropout("mask", 0.5), True),
    ]
