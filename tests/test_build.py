"""Building models: arguments that are guessed, and what values parameters get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dropcheck.load.arguments import Unknown, argument_sets
from dropcheck.load.build import build, filled
from dropcheck.load.failure import LoadError


class _Block(nn.Module):
    expansion = 1


class _Settings:
    width = 8


def texts(make: Callable[..., Any], call: str | None = None) -> list[str]:
    return [arguments.text for arguments in argument_sets(make, call, [_Block, _Settings])]


def test_arguments_are_guessed_from_names_annotations_and_use() -> None:
    def vision(in_channels, num_classes, kernel_size, stride, dropout, norm_layer, act, bias: bool):  # type: ignore
        return norm_layer, act

    def resnet(block, layers, groups):  # type: ignore
        return [block(count) for count in layers], layers[3], groups

    def text(vocab_size, d_model, nhead, num_layers, max_len): ...  # type: ignore

    def used(a, b, c, d):  # type: ignore
        return nn.Conv2d(a, 8, 3), nn.Dropout(b), [nn.Linear(w, w) for w in c], d * 2

    def configured(cfg):  # type: ignore
        return nn.Linear(cfg.width, cfg.width)

    def unread(anything): ...  # type: ignore

    assert texts(vision)[0] == (
        "in_channels=3, num_classes=10, kernel_size=3, stride=1, dropout=0.1, norm_layer=nn.BatchNorm2d, "
        "act=nn.ReLU, bias=False"
    )
    assert texts(vision)[1].startswith("in_channels=16, ")
    assert texts(resnet) == ["block=_Block, layers=[2, 2, 2, 2], groups=1"]
    assert texts(used)[0] == "a=16, b=0.1, c=[16, 32], d=16"
    assert texts(configured) == ["cfg=_Settings()"]
    assert texts(unread) == ["anything=None"]
    assert texts(text)[0] == "vocab_size=100, d_model=64, nhead=4, num_layers=2, max_len=16"
    assert texts(nn.Embedding)[0] == "num_embeddings=100, embedding_dim=64"
    assert texts(nn.Linear, "out_features=3") == ["out_features=3, in_features=64", "out_features=3, in_features=16"]


def test_given_arguments_are_never_overruled() -> None:
    (given,) = argument_sets(nn.Conv2d, "3, 8, kernel_size=(1, 2)", [])
    assert (given.args[:3], given.assumed, given.text) == ((3, 8, (1, 2)), (), "3, 8, kernel_size=(1, 2)")
    with pytest.raises(LoadError, match="multiple values for argument 'in_channels'"):
        list(argument_sets(nn.Conv2d, "3, in_channels=3", []))


def test_arguments_that_would_be_arbitrary_are_not_guessed() -> None:
    def net(mode: str, in_channels: int):  # type: ignore
        return mode, in_channels

    with pytest.raises(Unknown, match="no value is known for argument mode") as caught:
        list(argument_sets(net, None, []))
    assert caught.value.call == "mode=..., in_channels=3"


def test_large_tensors_get_no_memory_and_small_ones_keep_their_values() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Linear(200_000, 200_000)
            self.table = nn.Parameter(torch.randn(300_000, 1000))
            self.rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
            self.register_buffer("mask", torch.tril(torch.ones(4, 4)))
            nn.init.orthogonal_(self.wide.weight)
            self.wide.weight.data.normal_(0, 0.02)
            with torch.no_grad():
                self.wide.bias[0] = 1.0
            self.half()

    model = build(Net, "Net").model
    assert model.wide.weight.is_meta
    assert model.table.is_meta
    assert model.rates == [0.0, 0.25, 0.5]
    assert model.mask.sum() == 10


def test_constructors_that_look_at_their_weights_get_real_ones() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
            self.empty = bool(torch.empty(3).isfinite().all() * 0)

    model = build(Net, "Net").model
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_the_twin_has_the_same_tame_values_every_time() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Embedding(5, 3), nn.MultiheadAttention(4, 2))

    built = build(make, "make")
    first, second = built.twin().state_dict(), built.twin().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(value.isfinite().all() for value in first.values())
    assert first["0.weight"].abs().max() <= 1 / 3
    assert first["0.weight"].unique().numel() > 30
    assert (first["1.weight"] == 1).all()
    assert (first["0.bias"] == 0).all()


def test_infinite_buffers_stay_and_nan_goes() -> None:
    model = nn.Module()
    model.register_buffer("mask", torch.tensor([0.0, float("-inf"), float("nan")]))
    assert filled(model).mask.tolist() == [0.0, float("-inf"), 0.0]


def test_torch_is_left_as_it_was() -> None:
    original = nn.init.normal_, nn.Module.__init__
    with pytest.raises(LoadError, match="constructing it failed: KeyError: 'x'"):
        build(lambda: {}["x"], "it")
    assert (nn.init.normal_, nn.Module.__init__) == original
    assert torch.empty(2).device.type == "cpu"
