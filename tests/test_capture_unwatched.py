"""Code that a recorded run cannot look into: extensions, and numbers that leave torch and come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_models import Kernel, Lambda, captured, kinds, only
from torch import Tensor, nn
from torch.nn import functional as F

from dropcheck import ops
from dropcheck.graph import Graph
from dropcheck.shift import predict


def graph_of(model: nn.Module) -> Graph:
    return captured(model, (2, 8, 6, 6))


def test_an_extension_is_opaque_and_passes_on_what_its_module_was_given() -> None:
    graph = graph_of(nn.Sequential(nn.Dropout(0.5), Lambda(lambda s, x: Kernel.apply(x)), nn.BatchNorm2d(8)))
    assert kinds(graph) == ["Input", "Dropout", "Opaque", "BatchNorm", "Output"]
    assert only(graph, ops.Opaque).inputs == ("0",)


def test_numbers_that_leave_torch_and_come_back_are_opaque() -> None:
    graph = graph_of(Lambda(lambda s, x: F.relu(torch.from_numpy(x.detach().numpy() ** 2))))
    assert kinds(graph) == ["Input", "Opaque", "Activation", "Output"]
    assert only(graph, ops.Opaque).inputs == ("input",)


@pytest.mark.parametrize(
    "back",
    [
        lambda x: torch.tensor(x.tolist()),
        lambda x: torch.as_tensor(x.detach().numpy().tolist()),
        lambda x: torch.from_numpy(np.tanh(x.detach().numpy())),
    ],
)
def test_what_left_torch_behind_a_dropout_leaves_the_norm_behind_it_unjudged(back: Callable[[Tensor], Tensor]) -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(8))
    graph = graph_of(Lambda(lambda s, x: s.net[1](back(s.net[0](x))), net=net))
    assert kinds(graph) == ["Input", "Dropout", "Opaque", "BatchNorm", "Output"]
    assert only(graph, ops.Opaque).inputs[-1] == only(graph, ops.Dropout).name
    (shift,) = predict(graph).norms.values()
    assert (shift.delta, shift.unknown) == (None, (only(graph, ops.Opaque).name,))


def test_constants_of_numpy_are_no_activations() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(8))
    ones = np.ones((8, 1, 1), dtype=np.float32)
    graph = graph_of(Lambda(lambda s, x: s.net[1](s.net[0](x) * torch.from_numpy(ones)), net=net))
    assert not graph.of(ops.Opaque)
    (shift,) = predict(graph).norms.values()
    assert shift.delta == pytest.approx(0.5, abs=0.2)


def test_sizes_that_become_lists_are_no_activations() -> None:
    graph = graph_of(
        Lambda(lambda s, x: x * torch.tensor([1.0 / n for n in torch.tensor(x.shape).tolist()]).sum()),
    )
    assert not graph.of(ops.Opaque)


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        return x * torch.sigmoid(x)


def test_functions_of_autograd_that_call_torch_are_followed() -> None:
    graph = graph_of(Lambda(lambda s, x: F.relu(Swish.apply(x)) if len(x) else x))
    assert kinds(graph) == ["Input", "Activation", "Multiply", "Activation", "Output"]


@pytest.mark.parametrize("relu", [torch.ops.aten.relu, torch.ops.aten.relu.default, torch.ops.aten.relu_.default])
def test_operators_by_their_own_names(relu: Callable[[Tensor], Tensor]) -> None:
    graph = graph_of(Lambda(lambda s, x: relu(x) if len(x) else x))
    assert kinds(graph) == ["Input", "Activation", "Output"]


def doubled(x: Tensor) -> Tensor:
    return x * 2


def filled(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out.numpy()[:] = 2.0
    return out


@pytest.mark.parametrize(
    ("inside", "found"), [(doubled, ["Scale", "BatchNorm"]), (filled, ["Opaque", "BatchNorm"])], ids=["torch", "other"]
)
def test_an_operator_of_a_library_is_what_it_calls(inside: Callable[[Tensor], Tensor], found: list[str]) -> None:
    library = torch.library.Library(f"someones_{inside.__name__}", "DEF")
    library.define("dropout(Tensor x) -> Tensor")
    library.impl("dropout", inside, "CPU")
    dropout = getattr(torch.ops, f"someones_{inside.__name__}").dropout
    graph = graph_of(nn.Sequential(nn.Dropout(0.5), Lambda(lambda s, x: dropout(x)), nn.BatchNorm2d(8)))
    assert kinds(graph) == ["Input", "Dropout", *found, "Output"]
