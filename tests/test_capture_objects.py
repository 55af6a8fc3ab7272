"""Forwards that work on objects: graphs with methods of their own, batches with fields, containers that are none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dropcheck


@dataclass(eq=False)
class Features:
    nodes: dict[str, Tensor]


class Graph:
    """Keeps its Laplacian once it was asked for it."""

    def __init__(self) -> None:
        self.adjacency = torch.rand(6, 6)
        self.features = Features({"x": torch.randn(6, 8)})
        self.kept: dict[str, Tensor] = {}

    def smooth(self, x: Tensor) -> Tensor:
        if "laplacian" not in self.kept:
            self.kept["laplacian"] = self.adjacency / self.adjacency.sum(1, keepdim=True)
        return self.kept["laplacian"] @ x


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta, self.drop, self.norm = nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8)

    def forward(self, graph: Graph) -> Tensor:
        return self.norm(self.drop(graph.smooth(self.theta(graph.features.nodes["x"]))))


class Keeper(nn.Module):
    """Holds the graph itself."""

    def __init__(self) -> None:
        super().__init__()
        self.graph, self.inner = Graph(), Convolution()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner.norm(self.inner.drop(self.graph.smooth(x)))


@pytest.mark.parametrize("asked", [False, True])
def test_methods_of_an_object_are_looked_into_and_its_tensors_are_input(asked: bool) -> None:
    graph = Graph()
    if asked:
        graph.smooth(torch.ones(6, 8))
    (model,) = dropcheck.lint(Convolution(), (graph,)).models
    assert (model.opaque, model.norms[0].delta) == ((), pytest.approx(0.5))


def test_objects_given_as_input_stay_as_they_are() -> None:
    graph = Graph()
    dropcheck.lint(Convolution(), (graph,))
    assert graph.kept == {}


def test_tensors_in_objects_of_the_model_are_its_own() -> None:
    net = Keeper()
    net.graph.smooth(torch.ones(6, 8))
    (model,) = dropcheck.lint(net, torch.randn(6, 8)).models
    assert (model.opaque, model.norms[0].delta) == ((), pytest.approx(0.5))


class Nameless(tuple[Any, ...]):
    """Has no length, though it is a tuple."""

    def __len__(self) -> int:
        raise NotImplementedError


@dataclass
class Endless:
    me: list[Any] = field(default_factory=list)


def test_odd_containers_among_the_attributes_do_no_harm() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(8))
    net.kinds, net.ring = Nameless((1, 2)), Endless()
    net.ring.me.append(net.ring)
    (model,) = dropcheck.lint(net, torch.randn(4, 8)).models
    assert model.norms[0].delta == pytest.approx(0.5)


class Sparse(nn.Module):
    """Graph attention with a sparse matrix of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.drop, self.norm = nn.Linear(8, 1), nn.Dropout(0.5), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(6).repeat(2, 1)
        scores = torch.sparse_coo_tensor(places, self.score(x).flatten(), (6, 6))
        return self.norm(self.drop(torch.sparse.mm(torch.sparse.softmax(scores, 1), x)))


def test_sparse_functions_are_known() -> None:
    (model,) = dropcheck.lint(Sparse(), torch.randn(6, 8)).models
    assert (model.capture, model.opaque, model.norms[0].delta) == ("record", (), pytest.approx(0.5))


class Hoarder(nn.Module):
    """Has what nothing can copy, in a list beside results that were computed, and counts its calls there."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(8)
        self.kept = [nn.Linear(8, 8).weight.sum(), (number for number in range(3))]

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(x)
        return self.norm(self.drop(x))


def test_a_model_that_cannot_be_copied_whole_is_copied_in_parts() -> None:
    net = nn.Sequential(nn.Linear(8, 8), Hoarder())
    (model,) = dropcheck.lint(net, torch.randn(4, 8)).models
    assert [(norm.name, norm.delta) for norm in model.norms] == [("1.norm", pytest.approx(0.5))]
    assert len(net[1].kept) == 2
    assert int(net[1].norm.num_batches_tracked) == 0


class Ensemble(nn.Module):
    """Runs a pattern without memory with the weights of its members."""

    def __init__(self) -> None:
        super().__init__()
        self.pattern = [nn.Linear(8, 8, device="meta")]
        self.members, self.norm = nn.Parameter(torch.randn(3, 8, 8)), nn.BatchNorm1d(8)
        self.register_parameter("placeholder", self.pattern[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        weights = {"weight": self.members.mean(0), "bias": self.members[0, 0]}
        return self.norm(
            nn.functional.dropout(torch.func.functional_call(self.pattern[0], weights, (x,)), 0.5, self.training)
        )


def test_parameters_without_memory_stay_without() -> None:
    (model,) = dropcheck.lint(Ensemble(), torch.randn(4, 8)).models
    assert model.norms[0].delta == pytest.approx(0.5)
