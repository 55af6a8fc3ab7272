"""Capture: what a model's forward becomes, whichever way in was taken."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

import pytest
import torch
from small_models import IMAGE, Lambda, captured, kinds, only, recorded
from torch import nn
from torch.nn import functional as F

from dropcheck import ops
from dropcheck.capture import CaptureError, ExampleInput, capture

# The same graph, whichever way in ----------------------------------------------------------------------------------


def residual_block(self: Any, x: torch.Tensor) -> torch.Tensor:
    y = self.conv(F.relu(self.norm(x), inplace=True))
    y = F.dropout(y, 0.3, self.training)
    y += x
    return F.dropout(y, 0.2, training=self.training).mean((2, 3))


def gated(self: Any, x: torch.Tensor) -> torch.Tensor:
    gate = torch.sigmoid(self.conv(F.adaptive_avg_pool2d(x, 1)))
    a, b, c = torch.cat([x * gate, 2 * x + 1], 1).chunk(3, dim=1)
    return torch.stack([a, b - c], -1).flatten(1).view(x.shape[0], -1)


MODELS = {
    "sequential": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout2d(0.1), nn.MaxPool2d(2), nn.Flatten()
    ),
    "residual": lambda: Lambda(residual_block, conv=nn.Conv2d(3, 3, 1), norm=nn.BatchNorm2d(3)),
    "gated": lambda: Lambda(gated, conv=nn.Conv2d(3, 3, 1)),
    "shared layer": lambda: Lambda(
        lambda self, x: self.drop(self.norm(self.drop(x))), norm=nn.BatchNorm2d(3), drop=nn.Dropout()
    ),
    "functional weights": lambda: Lambda(
        lambda self, x: F.conv2d(x, self.conv.weight, self.conv.bias), conv=nn.Conv2d(3, 4, 3, groups=1)
    ),
    "functional batch norm": lambda: Lambda(
        lambda self, x: F.batch_norm(
            F.dropout(x, 0.5, True), self.n.running_mean, self.n.running_var, self.n.weight, self.n.bias, self.training
        ),
        n=nn.BatchNorm2d(3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_both_ways_in_give_the_same_graph(name: str) -> None:
    traced = captured(MODELS[name]())
    run = recorded(MODELS[name]())
    assert [(n.name, n.path, n.op, n.inputs, n.shape, n.training) for n in traced] == [
        (n.name, n.path, n.op, n.inputs, n.shape, n.training) for n in run
    ]


def test_way_in_is_named() -> None:
    image = ExampleInput((torch.rand(IMAGE),), spec="2x3x8x8")
    plain = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert capture(plain, [image], twin=lambda: plain).how == "fx"
    steered = Lambda(lambda self, x: x if len(x) > 9 else F.relu(x))
    result = capture(steered, [image], twin=lambda: steered)
    assert (result.how, result.input) == ("record", "2x3x8x8")
    assert kinds(result.graph) == ["Input", "Activation", "Output"]


def test_constants_are_folded_and_randomness_is_kept() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        noise = torch.empty(x.shape[0], 1, 1, 1).normal_()
        return self.scale * x / 0.9 * noise + torch.zeros(1)

    model = Lambda(forward)
    model.scale = nn.Parameter(torch.ones(1))
    graph = recorded(model)
    assert sorted(kinds(graph)) == ["Constant", "Input", "Multiply", "Output", "Scale", "Scale", "Scale"]
    assert [node.op for node in graph if isinstance(node.op, ops.Constant)] == [ops.Constant(random=True)]


def test_writes_through_a_view_reach_the_tensor_behind_it() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(x)
        y[:, :1] = F.dropout(x[:, :1], 0.5, self.training)
        y.narrow(1, 1, 1).copy_(torch.sigmoid(x[:, 1:2]))
        return y

    graph = recorded(Lambda(forward))
    reaches = {name for node in graph if isinstance(node.op, ops.Output) for name in node.inputs}
    while any(set(graph[name].inputs) - reaches for name in reaches):
        reaches |= {source for name in reaches for source in graph[name].inputs}
    assert {"/dropout", "/sigmoid"} <= reaches


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.numpy() ** 2)


def test_what_the_catalogue_does_not_know_is_opaque() -> None:
    graph = recorded(Lambda(lambda self, x: F.relu(torch.linalg.householder_product(x[0, 0], x[0, 0, 0]))))
    assert only(graph, ops.Opaque).op == ops.Opaque("householder_product")


def test_what_comes_from_nowhere_has_an_unknown_origin() -> None:
    graph = recorded(Lambda(lambda self, x: F.relu(Squared.apply(torch.lgamma(x)))))
    assert kinds(graph) == ["Input", "Activation", "Opaque", "Activation", "Output"]
    assert only(graph, ops.Opaque).inputs == ("input", "/lgamma")


SCALE = torch.ones(3, 1, 1)


def test_a_tensor_that_was_there_before_is_a_constant() -> None:
    offset = torch.zeros(1)
    assert kinds(recorded(Lambda(lambda self, x: x * SCALE + offset))) == ["Input", "Scale", "Scale", "Output"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_opaque() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()))
    graph = recorded(nn.Sequential(nn.Dropout(0.5), scripted, nn.BatchNorm2d(3)))
    assert kinds(graph) == ["Input", "Dropout", "Opaque", "BatchNorm", "Output"]
    assert graph["2"].inputs == ("1",)


def masked(x: torch.Tensor, keep: float) -> torch.Tensor:
    return x / keep * torch.rand_like(x).add(keep).floor()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ready", [lambda x: True, lambda x: x.mean() >= 0.0], ids=["fx", "record"])
def test_a_scripted_function_is_read_as_it_was_written(ready: Callable[[torch.Tensor], bool]) -> None:
    scripted = torch.jit.script(masked)
    call = torch.jit.ScriptFunction.__call__
    graph = captured(Lambda(lambda self, x: scripted(x, 0.75) if ready(x) else x))
    assert only(graph, ops.Dropout).op.drop_rate == pytest.approx(0.25, abs=1e-3)
    assert not graph.of(ops.Opaque)
    assert torch.jit.ScriptFunction.__call__ is call


# Forwards that fx cannot follow, or follows wrongly ------------------------------------------------------------------


def test_a_forward_bound_to_the_instance_is_recorded() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].forward = MethodType(lambda self, x: F.dropout(x, 0.5), model[1])
    result = capture(model, [ExampleInput((torch.rand(2, 4),))], twin=lambda: model)
    assert result.how == "record"
    assert kinds(result.graph) == ["Input", "Weight", "Dropout", "Output"]


class AsksForTensors(nn.Module):
    def forward(self, x: Any) -> torch.Tensor:
        return F.relu(x) if isinstance(x, torch.Tensor) else x[0]


def test_a_check_for_being_a_tensor_takes_the_tensor_s_branch() -> None:
    result = capture(AsksForTensors(), [ExampleInput((torch.rand(IMAGE),))], twin=AsksForTensors)
    assert kinds(result.graph) == ["Input", "Activation", "Output"]


class Scores(NamedTuple):
    main: torch.Tensor
    side: torch.Tensor


@pytest.mark.parametrize(
    "packed", [lambda a, b: Scores(a, b), lambda a, b: {"a": a, "b": [b]}, lambda a, b: (a, (b, None))]
)
def test_containers_returned(packed: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
    model = Lambda(lambda self, x: packed(F.relu(x), torch.sigmoid(x)))
    for graph in (captured(model), recorded(model)):
        assert only(graph, ops.Output).inputs == ("/relu", "/sigmoid")
        assert kinds(graph) == ["Input", "Activation", "Activation", "Output"]


class Optional(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return x if mask is None else x * mask


def test_optional_arguments_keep_their_defaults_unless_given() -> None:
    x = torch.rand(IMAGE)
    without = capture(Optional(), [ExampleInput((x,))], twin=Optional)
    assert kinds(without.graph) == ["Input", "Output"]
    given = capture(Optional(), [ExampleInput((x,), {"mask": x.clone()})], twin=Optional)
    assert kinds(given.graph) == ["Input", "Input", "Multiply", "Output"]


class NeedsLabels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        if self.training and labels is None:
            raise ValueError("labels are needed in training mode")
        return self.norm(F.dropout(self.drop(x), 0.1, self.training))


def test_a_model_that_wants_labels_is_read_in_evaluation_mode_as_if_training() -> None:
    result = capture(NeedsLabels(), [ExampleInput((torch.rand(2, 4),))], twin=NeedsLabels)
    assert result.how == "record"
    assert [node.drops for node in result.graph if isinstance(node.op, ops.Dropout)] == [True, True]
    assert only(result.graph, ops.BatchNorm).remembers


def test_a_forward_that_differentiates() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        (slope,) = torch.autograd.grad(self.drop(self.fc(x)).sum(), self.fc.weight)
        return F.relu(x) * slope.sum() if len(x) else x

    assert only(captured(Lambda(forward, fc=nn.Linear(8, 8), drop=nn.Dropout(0.5))), ops.Dropout).drops


def test_a_large_model_is_run_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        model = Lambda(
            lambda self, x: self.b(F.relu(self.a(x)) if len(x.shape) == 2 else x),
            a=nn.Linear(20_000, 20_000),
            b=nn.Linear(20_000, 2),
        )

    def no_twin() -> nn.Module:
        raise AssertionError("a twin of 1.6 GB was made")

    result = capture(model, [ExampleInput((torch.rand(2, 20_000),))], twin=no_twin)
    assert [(node.path, node.shape) for node in result.graph if isinstance(node.op, ops.Weight)] == [
        ("a", (2, 20_000)),
        ("b", (2, 2)),
    ]


@pytest.mark.parametrize("given", [True, False])
def test_inputs_are_tried_in_order(given: bool) -> None:
    wrong, right = ExampleInput((torch.rand(2, 5),), spec="2x5"), ExampleInput((torch.rand(2, 4),), spec="2x4")
    model = nn.Sequential(nn.Linear(4, 3))
    assert capture(model, [wrong, right], twin=lambda: model).input == "2x4"


def test_a_guessed_input_that_leaves_nothing_to_pool_gives_way_to_a_larger_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    sizes = [ExampleInput((torch.rand(2, 3, side, side),), spec=str(side)) for side in (16, 32, 64)]
    assert capture(model, sizes, twin=lambda: model).input == "32"
    assert capture(model, sizes[:1], twin=lambda: model).input == "16"
    given = ExampleInput((torch.rand(2, 3, 16, 16),), spec="given", given=True)
    assert capture(model, [given, *sizes], twin=lambda: model).input == "given"


def test_without_any_fitting_input_the_symbolic_graph_has_no_shapes() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    result = capture(model, [ExampleInput((torch.rand(2, 5),), spec="2x5")], twin=lambda: model)
    assert (result.how, result.input) == ("fx", None)
    assert [node.shape for node in result.graph] == [None] * 4


def test_an_input_the_user_gave_must_fit() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(
        CaptureError, match=r"forward raised RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    ) as e:
        capture(model, [ExampleInput((torch.rand(2, 5),), given=True)], twin=lambda: model)
    assert "--input" in e.value.hint


def test_nothing_to_run_on() -> None:
    model = Lambda(lambda self, x: x if x.sum() > 0 else -x)
    with pytest.raises(CaptureError, match=r"torch\.fx cannot follow .* no example input"):
        capture(model, [], twin=lambda: model)
