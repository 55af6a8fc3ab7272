"""What stays random after ``model.eval()``, as capture sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_models import IMAGE, Lambda, captured, only
from torch import nn
from torch.nn import functional as F

from dropcheck import ops
from dropcheck.capture import ExampleInput, capture, evaluation


class Kept(nn.Module):
    """A dropout that no ``eval()`` reaches: it lies in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Dropout(0.5)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[0](x)


class Reaches(Kept):
    def train(self, mode: bool = True) -> Reaches:
        for layer in self.layers:
            layer.train(mode)
        return super().train(mode)


class AlwaysTrains(nn.Module):
    """Dropout at prediction, on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> AlwaysTrains:
        super().train(mode)
        self.drop.train()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(x)


class SwitchesInForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.drop.train()
        return self.drop(x)


class DropPath(nn.Module):
    """Known by its name; what its own forward does in evaluation is another matter."""

    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.drop_prob, self.gated = 0.5, gated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.gated and not self.training:
            return x
        return x * torch.rand(len(x), 1, 1, 1).add(0.5).floor()


class Attends(nn.Module):
    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.gated = gated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rate = 0.1 if self.training or not self.gated else 0.0
        return F.scaled_dot_product_attention(x, x, x, dropout_p=rate)


def drops(model: nn.Module) -> bool | None:
    return only(captured(model), ops.Dropout).random_in_eval


@pytest.mark.parametrize(
    ("model", "random"),
    [
        (lambda: nn.Sequential(nn.Dropout(0.5)), False),
        (lambda: nn.Dropout(0.5), False),
        (lambda: Lambda(lambda s, x: F.dropout(x, 0.5)), True),
        (lambda: Lambda(lambda s, x: F.dropout(x, 0.5, training=True)), True),
        (lambda: Lambda(lambda s, x: F.dropout(x, 0.5, s.training)), False),
        (lambda: Lambda(lambda s, x: F.dropout(x, 0.5) if s.training else x), False),
        (lambda: Lambda(lambda s, x: nn.Dropout(0.5)(x)), True),
        (lambda: Lambda(lambda s, x: torch.dropout(x, 0.5, True)), True),
        (Kept, True),
        (Reaches, False),
        (AlwaysTrains, True),
        (SwitchesInForward, True),
        (lambda: nn.Sequential(DropPath(gated=True)), False),
        (lambda: nn.Sequential(DropPath(gated=False)), True),
    ],
)
def test_dropouts(model: Callable[[], nn.Module], random: bool) -> None:
    assert drops(model()) is random


@pytest.mark.parametrize("gated", [True, False])
def test_attention(gated: bool) -> None:
    assert only(captured(Attends(gated)), ops.Attention).random_in_eval is not gated


class Plain(nn.Module):
    """Recurrent and attention layers, registered or not."""

    def __init__(self, layer: nn.Module, registered: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer]) if registered else [layer]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layers[0]
        return layer(x, x, x)[0] if isinstance(layer, nn.MultiheadAttention) else layer(x)[0]


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LSTM(8, 8, num_layers=2, dropout=0.3),
        lambda: nn.GRU(8, 8, num_layers=2, dropout=0.3),
        lambda: nn.MultiheadAttention(8, 2, dropout=0.3),
    ],
)
def test_layers_with_a_dropout_inside(layer: Callable[[], nn.Module], registered: bool) -> None:
    node = only(captured(Plain(layer(), registered), (5, 2, 8)), ops.Attention | ops.Recurrent)  # type: ignore[arg-type]
    assert isinstance(node.op, ops.Attention | ops.Recurrent)
    assert (node.op.drop_rate, node.random_in_eval) == (0.3, not registered)


@pytest.mark.parametrize("gated", [True, False])
def test_noise_that_is_drawn_by_hand(gated: bool) -> None:
    model = Lambda(lambda s, x: x + torch.randn_like(x) if s.training or not gated else x)
    assert only(captured(model), ops.Constant).random_in_eval is not gated


def test_calls_of_one_function_are_told_apart_by_where_they_stand() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(x, 0.5, self.training)
        return F.dropout(F.relu(x), 0.5)

    found = [node.random_in_eval for node in captured(Lambda(forward)) if isinstance(node.op, ops.Dropout)]
    assert found == [False, True]


def test_a_dropout_that_drops_nothing_tells_nothing() -> None:
    assert drops(Lambda(lambda s, x: F.dropout(x, 0.0))) is None
    assert drops(nn.Sequential(nn.Dropout(0.0))) is None


def test_without_an_input_only_what_the_flags_say_is_known() -> None:
    model = nn.Sequential(nn.Dropout(0.5), Lambda(lambda s, x: F.dropout(x, 0.5, s.training)))
    found = capture(model, [], twin=lambda: model).graph
    assert [node.random_in_eval for node in found if isinstance(node.op, ops.Dropout)] == [False, None]


class OnlyTrains(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise NotImplementedError
        return F.dropout(x, 0.5)


def test_a_model_that_cannot_be_evaluated_leaves_it_open() -> None:
    assert drops(OnlyTrains()) is None


@pytest.mark.parametrize("model", [OnlyTrains(), Kept(), AlwaysTrains()])
def test_flags_and_random_numbers_are_as_before(model: nn.Module) -> None:
    example = ExampleInput((torch.rand(IMAGE),))
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    capture(model, [example], twin=lambda: model)
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_whose_flags_settle_it_need_no_second_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("the model was run again")

    monkeypatch.setattr(evaluation, "_drawn_in_evaluation", never)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout2d(0.5), nn.ReLU(), nn.Dropout(0.1))
    graph = capture(model, [ExampleInput((torch.rand(IMAGE),))], twin=lambda: model).graph
    assert [node.random_in_eval for node in graph] == [None, None, None, False, None, False, None]
