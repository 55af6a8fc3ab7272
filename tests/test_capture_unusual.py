"""Models that do what few do: they are captured all the same, and left alone."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import calls
from small_models import Lambda, kinds
from torch import Tensor, nn
from torch.nn import functional as F

import dropcheck
from dropcheck import ops
from dropcheck.capture import ExampleInput, capture
from dropcheck.capture.record import UNSEEN
from dropcheck.capture.replica import every_path, replica
from dropcheck.graph import Graph

ROWS = (6, 4)


def parts(**more: nn.Module) -> dict[str, nn.Module]:
    return {"fc": nn.Linear(4, 4), "drop": nn.Dropout(0.5), "norm": nn.BatchNorm1d(4), **more}


def graph_of(model: nn.Module, x: Tensor) -> Graph:
    """Of a copy, as ``dropcheck.lint`` does it."""
    example = ExampleInput((x.clone(),), given=True)
    return capture(replica(model, "meta"), [example], twin=lambda: replica(model, "cpu")).graph


def differentiates(m: Any, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    energy = m.norm(m.drop(m.fc(x))).sum()
    (force,) = torch.autograd.grad(energy, x, create_graph=True)
    return force


def learns(m: Any, x: Tensor) -> Tensor:
    loss = m.norm(m.drop(m.fc(x))).square().mean()
    loss.backward()
    return loss - m.fc.weight.grad.square().sum()


def writes_to_its_input(m: Any, x: Tensor) -> Tensor:
    x.mul_(2)
    x[:, 0] = 0
    return m.norm(m.drop(m.fc(x)))


def loops_on_values(m: Any, x: Tensor) -> Tensor:
    y = m.norm(m.drop(m.fc(x)))
    while y.abs().max() > 1e-3:
        y = y * 0.25
    return y


def returns_nothing(m: Any, x: Tensor) -> None:
    m.last = m.norm(m.drop(m.fc(x)))


@dataclasses.dataclass
class Prediction:
    logits: Tensor
    hidden: list[Tensor]


class Named(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]


FORWARDS: dict[str, Callable[[Any, Tensor], Any]] = {
    "differentiates": differentiates,
    "learns": learns,
    "writes to its input": writes_to_its_input,
    "loops on values": loops_on_values,
    "returns a dataclass": lambda m, x: Prediction(m.norm(m.drop(m.fc(x))), [x]),
    "returns a dict": lambda m, x: {"a": m.norm(m.drop(m.fc(x))), "b": {"c": [x, None]}},
    "returns a dict of its own": lambda m, x: Named(logits=m.norm(m.drop(m.fc(x)))),
    "returns a number": lambda m, x: m.norm(m.drop(m.fc(x))).argmax().item(),
    "returns nothing": returns_nothing,
}


@pytest.mark.parametrize("name", FORWARDS)
def test_a_forward_that(name: str) -> None:
    model = Lambda(FORWARDS[name], **parts())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.rand(ROWS)
    given = x.clone()
    report = dropcheck.lint(model, x)
    assert report.errors == ()
    (shown,) = report.models
    assert [(norm.name, round(norm.delta or 0.0, 2)) for norm in shown.norms] == [("norm", 0.5)]
    assert torch.equal(x, given)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.fc.weight.grad is None
    assert "last" not in vars(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [True, False])
def test_models_of_other_precisions(dtype: torch.dtype, given: bool) -> None:
    model = Lambda(lambda m, x: m.norm(m.drop(m.fc(x))), **parts()).to(dtype)
    report = dropcheck.lint(model, torch.rand(ROWS, dtype=dtype) if given else None)
    assert [norm.name for norm in report.models[0].norms] == ["norm"]
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_parameters_that_two_layers_share() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[2].weight = model[0].weight
    graph = graph_of(model, torch.rand(ROWS))
    assert [node.path for node in graph.of(ops.Weight)] == ["0", "2"]


def test_a_layer_under_two_names_is_called_by_the_first() -> None:
    drop, norm = nn.Dropout(0.5), nn.BatchNorm1d(4)
    graph = graph_of(nn.Sequential(nn.Sequential(drop, norm), nn.Sequential(drop, norm)), torch.rand(ROWS))
    assert [(node.name, node.path) for node in graph.of(ops.Dropout, ops.BatchNorm)] == [
        ("0.0", "0.0"),
        ("0.1", "0.1"),
        ("0.0@2", "0.0"),
        ("0.1@2", "0.1"),
    ]


class Recursive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)

    def forward(self, x: Tensor, depth: int = 3) -> Tensor:
        return x if depth == 0 else self.forward(self.norm(self.drop(x)), depth - 1)


class Tree(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.left = Tree(depth - 1) if depth else nn.Dropout(0.1)
        self.right = Tree(depth - 1) if depth else nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


def test_recursion() -> None:
    assert kinds(graph_of(Recursive(), torch.rand(ROWS))) == ["Input", *["Dropout", "BatchNorm"] * 3, "Output"]
    assert kinds(graph_of(Tree(4), torch.rand(ROWS))) == ["Input", *["Dropout", "BatchNorm"] * 16, "Output"]


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return self.forward(F.relu(x))


def test_recursion_without_end_is_an_error_of_the_model() -> None:
    report = dropcheck.lint(Endless(), torch.rand(ROWS))
    assert [error.message.partition(":")[0] for error in report.errors] == ["forward raised RecursionError"]


class Parented(nn.Module):
    """A part that knows the whole: a circle of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Dropout(0.5)
        self.child.parent = self

    def forward(self, x: Tensor) -> Tensor:
        return self.child(x)


def test_modules_in_a_circle() -> None:
    model = Parented()
    report = dropcheck.lint(model, torch.rand(ROWS))
    assert report.errors == ()
    assert [drop.name for drop in report.models[0].dropouts] == ["child"]
    assert [path for path, _ in every_path(model)] == ["", "child"]


def test_layers_two_hundred_deep() -> None:
    model: nn.Module = nn.Dropout(0.5)
    for _ in range(200):
        model = nn.Sequential(model)
    limit = sys.getrecursionlimit()
    assert len(graph_of(model, torch.rand(ROWS)).of(ops.Dropout)) == 1
    assert sys.getrecursionlimit() == limit


def test_two_thousand_layers() -> None:
    blocks = ((nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.1)) for _ in range(500))
    model = nn.Sequential(*(layer for block in blocks for layer in block))
    x = torch.rand(ROWS)
    assert len(graph_of(model, x)) == 2002
    tenth = model[:200]
    assert calls(lambda: graph_of(model, x)) < 15 * calls(lambda: graph_of(tenth, x))


def branches_on_what_it_computes(m: Any, x: Tensor) -> Tensor:
    return x + m.drop(x) if x.sum() > -1 else x


def sums(m: Any, x: Tensor) -> Tensor:
    return x + m.drop(x)


def sums_by_function(m: Any, x: Tensor) -> Tensor:
    return x + F.dropout(x, 0.5, m.training)


@pytest.mark.parametrize("forward", [branches_on_what_it_computes, sums, sums_by_function], ids=lambda f: f.__name__)
def test_what_is_dropped_stays_another_than_what_it_was(forward: Callable[..., Tensor]) -> None:
    graph = graph_of(Lambda(forward, drop=nn.Dropout(0.5)), torch.rand(ROWS))
    (add,), (drop,) = graph.of(ops.Add), graph.of(ops.Dropout)
    assert add.inputs == (*drop.inputs, drop.name)


# Tensors nobody has seen being made ----------------------------------------------------------------------------------


def test_old_constructors_make_constants() -> None:
    halved = Lambda(lambda s, x: s.norm(s.drop(x) * torch.FloatTensor([0.5]).to(x)) if len(x) else x, **parts())
    assert kinds(graph_of(halved, torch.randn(ROWS))) == ["Input", "Dropout", "Scale", "BatchNorm", "Output"]


def test_layers_in_a_plain_list_keep_what_they_learned_to_themselves() -> None:
    hidden = [nn.Embedding(5, 8), nn.BatchNorm1d(8)]
    graph = graph_of(Lambda(lambda s, x: hidden[1](hidden[0](x)) if len(x) else x), torch.zeros(4, dtype=torch.long))
    assert kinds(graph) == ["Input", "Lookup", "BatchNorm", "Output"]


def test_constants_made_like_an_activation_are_constants() -> None:
    model = Lambda(lambda s, x: s.norm(s.drop(x) * s.fc.bias.to(x)) if len(x) else x, **parts())
    assert kinds(graph_of(model, torch.randn(ROWS))) == ["Input", "Dropout", "Scale", "BatchNorm", "Output"]


def test_layers_called_with_keyword_arguments() -> None:
    up, fc = nn.ConvTranspose1d(4, 4, 3, stride=2), nn.Linear(12, 2)
    model = Lambda(lambda s, x: s.fc(input=s.up(x, output_size=[12])) if len(x) else x, up=up, fc=fc)
    assert kinds(graph_of(model, torch.randn(2, 4, 5))) == ["Input", "Weight", "Weight", "Output"]


def test_samples_of_a_distribution() -> None:
    def sampled(s: nn.Module, x: Tensor) -> Tensor:
        return x + torch.distributions.Gamma(F.softplus(x), 1.0).sample()

    assert not graph_of(Lambda(sampled), torch.randn(ROWS)).of(ops.Opaque)


class Collecting(nn.Module):
    """Uses what a hook of its own has collected; another one scales what its norm gets."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)
        self.found: list[Tensor] = []
        self.drop.register_forward_hook(self.keep)
        self.norm.register_forward_pre_hook(self.doubled)

    def keep(self, module: nn.Module, args: Any, result: Tensor) -> None:
        self.found.append(result)

    def doubled(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0] * 2.0,)

    def forward(self, x: Tensor) -> Tensor:
        self.drop(x)
        return self.norm(self.found.pop())


def test_hooks_that_are_methods_of_the_model_are_part_of_it() -> None:
    graph = graph_of(Collecting(), torch.rand(ROWS))
    assert kinds(graph) == ["Input", "Dropout", "Opaque", "BatchNorm", "Output"]
    assert [node.inputs for node in graph.of(ops.Opaque, ops.BatchNorm)] == [("drop",), (f"norm/{UNSEEN}",)]


HOOKED_NETS = """
from torch import nn

COUNT = []

def kept(key):
    def hook(module, args, result):
        setattr(module, key, result)
    return hook

def counted(calls):
    def hook(module, args, result):
        calls.append(module)
    return hook

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.drop.register_forward_hook(kept("last"))
        self.drop.register_forward_hook(counted(COUNT))

    def forward(self, x):
        self.drop(x)
        return self.drop.last
"""


def test_hooks_of_a_library_are_part_of_its_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "hooked_nets.py").write_text(HOOKED_NETS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    library = importlib.import_module("hooked_nets")
    report = dropcheck.lint(library.Net(), torch.rand(ROWS))
    assert report.errors == ()
    assert [drop.name for drop in report.models[0].dropouts] == ["drop"]
    assert library.COUNT == []
