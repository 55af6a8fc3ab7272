"""Small models and what capture makes of them, shared by the tests of capture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture
from dropcheck.capture.example import Budget
from dropcheck.capture.lower import lower
from dropcheck.capture.record import record
from dropcheck.graph import Graph, Node

IMAGE = (2, 3, 8, 8)


class Lambda(nn.Module):
    """A model whose forward is a function of its parts and the input."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


class Kernel(torch.autograd.Function):
    """As compiled extensions look to whoever watches: numbers leave torch and come back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.from_numpy(x.detach().numpy() * 2)


def captured(model: nn.Module, *shapes: tuple[int, ...]) -> Graph:
    example = ExampleInput(tuple(torch.rand(shape) for shape in shapes or (IMAGE,)), given=True)
    return capture(model, [example], twin=lambda: model).graph


def recorded(model: nn.Module, *shapes: tuple[int, ...]) -> Graph:
    example = ExampleInput(tuple(torch.rand(shape) for shape in shapes or (IMAGE,)))
    flags = {path: module.training for path, module in model.named_modules()}
    return lower(record(model, example, flags, Budget()), {})


def only(graph: Graph, kind: type) -> Node:
    found = [node for node in graph if isinstance(node.op, kind)]
    assert len(found) == 1, [node.op for node in graph]
    return found[0]


def kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph]
