"""Every sort of dropout in a masked-copies run: layers, masks made by hand, dropout inside other layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated import (
    IMAGE,
    DropPath,
    assert_close,
    branch,
    last,
    less_work,
    one_thread,
    predicted,
    settled,
    simulated,
)
from small_models import Lambda
from torch import Tensor, nn

from dropcheck.simulate.failure import PredictionError

__all__ = ["less_work", "one_thread"]  # fixtures for all of them


def new_empty_bernoulli(x: Tensor, keep: float) -> Tensor:
    return x * x.new_empty((len(x), 1, 1, 1)).bernoulli_(keep).div_(keep)


def floor_of_rand(x: Tensor, keep: float) -> Tensor:
    mask = keep + torch.rand((len(x), 1, 1, 1))
    mask.floor_()
    return x.div(keep) * mask


def rand_below(x: Tensor, keep: float) -> Tensor:
    return x * (torch.rand(len(x), 1, 1, 1) < keep) / keep


def bernoulli_of_full(x: Tensor, keep: float) -> Tensor:
    return torch.bernoulli(torch.full((len(x), 1, 1, 1), keep)) / keep * x


def where_rand(x: Tensor, keep: float) -> Tensor:
    return torch.where(torch.rand_like(x) < keep, x / keep, torch.zeros_like(x))


def masked_fill_rand(x: Tensor, keep: float) -> Tensor:
    return x.masked_fill(torch.rand_like(x) >= keep, 0.0) / keep


def gaussian_dropout(x: Tensor, keep: float) -> Tensor:
    return x * (1.0 + (1.0 / keep - 1.0) ** 0.5 * torch.randn_like(x))


def viewed(x: Tensor, keep: float) -> Tensor:
    return x * (torch.rand(len(x)) < keep).view(len(x), 1, 1, 1) / keep


def with_new_axes(x: Tensor, keep: float) -> Tensor:
    return x * torch.bernoulli(torch.full((len(x),), keep))[:, None, None, None] / keep


def expanded(x: Tensor, keep: float) -> Tensor:
    return x * (torch.rand(len(x), 1, 1, 1) < keep).expand_as(x) / keep


LAYERS: Mapping[str, Callable[[], nn.Module]] = {
    "Dropout": lambda: nn.Dropout(0.4),
    "Dropout2d": lambda: nn.Dropout2d(0.4),
    "AlphaDropout": lambda: nn.AlphaDropout(0.2),
    "DropPath": lambda: DropPath(0.4),
    "DropPath unscaled": lambda: DropPath(0.4, scale_by_keep=False),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_layers_in_a_residual_branch(kind: str) -> None:
    torch.manual_seed(0)
    model = settled(branch(lambda m, x: m.drop(x), drop=LAYERS[kind]()), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert [source.dropout for source in shifts.norms["bn3"].sources] == ["drop"]
    assert shifts.norms["bn3"].sources[0].share == 1.0


@pytest.mark.parametrize(
    "mask",
    [
        new_empty_bernoulli,
        floor_of_rand,
        rand_below,
        bernoulli_of_full,
        where_rand,
        masked_fill_rand,
        gaussian_dropout,
        viewed,
        with_new_axes,
        expanded,
    ],
    ids=lambda one: one.__name__,
)
def test_masks_made_by_hand(mask: Callable[[Tensor, float], Tensor]) -> None:
    torch.manual_seed(0)
    model = settled(branch(lambda m, x: mask(x, 0.6) if m.training else x), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert len(shifts.norms["bn3"].sources) == 1


def test_dropout_that_never_rests_is_no_shift() -> None:
    torch.manual_seed(0)
    for noise in (lambda m, x: F.dropout(x, 0.5), lambda m, x: new_empty_bernoulli(x, 0.5)):
        shifts = predicted(settled(branch(noise), IMAGE), IMAGE)
        assert [shift.delta for shift in shifts.norms.values()] == [1.0, 1.0, 1.0]
        assert not any(shift.sources for shift in shifts.norms.values())


def test_functional_dropout_that_training_gates() -> None:
    torch.manual_seed(0)
    model = settled(branch(lambda m, x: F.dropout(x, 0.5, m.training, True)), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert shifts.norms["bn3"].sources[0].dropout == "/dropout"


def test_block_dropout_of_another_library() -> None:
    class DropBlock2d(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop_prob, self.block_size = 0.3, 3

        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return x
            seeds = torch.rand_like(x) < self.drop_prob / 9 * 64 / 36
            kept = 1.0 - F.max_pool2d(seeds.to(x.dtype), 3, 1, 1)
            return x * kept * kept.numel() / kept.sum()

    torch.manual_seed(0)
    model = settled(branch(lambda m, x: m.drop(x), drop=DropBlock2d()), IMAGE)
    assert_close(predicted(model, IMAGE), simulated(model, IMAGE), 0.1)


@pytest.mark.parametrize("kind", ["attention", "lstm"])
def test_dropout_inside_a_layer(kind: str) -> None:
    torch.manual_seed(0)

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.lstm(x)[0] if kind == "lstm" else m.attention(x, x, x)[0]
        return m.bn(x.mean(1))

    parts: dict[str, nn.Module] = {
        "attention": nn.MultiheadAttention(16, 4, dropout=0.5, batch_first=True),
        "lstm": nn.LSTM(16, 16, 2, dropout=0.5, batch_first=True),
    }
    model = Lambda(forward, bn=nn.BatchNorm1d(16), **{kind: parts[kind]})
    model.get_submodule("bn").momentum = None
    data = F.interpolate(torch.randn(512, 16, 4), size=8, mode="linear").transpose(1, 2)
    with torch.no_grad():
        for _ in range(4):
            model(data)
    shift = last(predicted(model, (8, 16)))
    truth = simulated_on(model, data)
    assert shift.delta == pytest.approx(truth, rel=0.15)
    assert [source.dropout for source in shift.sources] == [kind]


def simulated_on(model: nn.Module, data: Tensor) -> float:
    seen: list[Tensor] = []
    twin = deepcopy(model).eval()
    norm = twin.get_submodule("bn")
    norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        twin(data)
    return float(seen[0].var(0).mean() / norm.running_var.mean())


def test_a_way_chosen_by_a_random_number_is_an_error() -> None:
    torch.manual_seed(0)
    model = branch(lambda m, x: x * 0.0 if m.training and torch.rand(1).item() < 0.3 else x)
    with pytest.raises(PredictionError, match="random number"):
        predicted(settled(model, IMAGE), IMAGE)


def test_what_cannot_be_followed_is_an_error_and_no_guess() -> None:
    def smoothed(x: Tensor) -> Tensor:
        return x * F.avg_pool2d(torch.rand_like(x), 3, 1, 1)

    torch.manual_seed(0)
    model = settled(branch(lambda m, x: smoothed(x) if m.training else x), IMAGE)
    with pytest.raises(PredictionError, match="avg_pool2d makes of random numbers cannot be followed"):
        predicted(model, IMAGE)
