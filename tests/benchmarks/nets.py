"""The benchmark networks by name: family, where dropout stands, drop rate, activation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from .blocks import (
    ACTIVATIONS,
    DenseLayer,
    Drop,
    DropPath,
    Gate,
    InvertedResidual,
    PostActivation,
    PreActivation,
    conv,
)
from .data import SERIES_CLASSES, SIDE

DIGITS = 10
_STAGES = ((1, 1), (2, 2), (4, 2))  # factor on the width, stride of the first block


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, DIGITS)]


def pre_activation(
    case: str, rate: float, activation: str, width: int = 12, blocks: int = 2, drop: Drop = nn.Dropout
) -> nn.Sequential:
    """A residual stream of three stages that no norm ever touches; few wide blocks make it a wide ResNet."""
    layers: list[nn.Module] = [conv(1, width)]
    channels = width
    for factor, first in _STAGES:
        for block in range(blocks):
            stride = first if block == 0 else 1
            layers.append(PreActivation(channels, factor * width, stride, case, rate, activation, drop))
            channels = factor * width
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), ACTIVATIONS[activation](), *_head(channels))


def gated(case: str, rate: float, activation: str, width: int = 12) -> nn.Sequential:
    net = pre_activation(case, rate, activation, width)
    for block in net:
        if isinstance(block, PreActivation):
            block.after = Gate(block.conv2.out_channels, activation)
    return net


def drop_path(_: str, rate: float, activation: str, width: int = 12, blocks: int = 2) -> nn.Sequential:
    net = pre_activation("none", 0.0, activation, width, blocks)
    for block in net:
        if isinstance(block, PreActivation):
            block.after = DropPath(rate)
    return net


def post_activation(_: str, rate: float, activation: str, width: int = 12) -> nn.Sequential:
    layers: list[nn.Module] = [conv(1, width), nn.BatchNorm2d(width), ACTIVATIONS[activation]()]
    channels = width
    for factor, stride in _STAGES:
        layers.append(PostActivation(channels, factor * width, stride, rate, activation))
        channels = factor * width
        layers.append(PostActivation(channels, channels, 1, rate, activation))
    return nn.Sequential(*layers, *_head(channels))


def inverted(_: str, rate: float, activation: str) -> nn.Sequential:
    layers: list[nn.Module] = [conv(1, 16), nn.BatchNorm2d(16), ACTIVATIONS[activation]()]
    for inputs, outputs, stride in ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1)):
        layers.append(InvertedResidual(inputs, outputs, stride, rate, activation))
    return nn.Sequential(*layers, *_head(32))


def dense(case: str, rate: float, activation: str, growth: int = 8, layers_each: int = 4) -> nn.Sequential:
    """Three dense blocks with halving transitions between them."""
    act = ACTIVATIONS[activation]
    channels = 16
    layers: list[nn.Module] = [conv(1, channels)]
    for block in range(3):
        if block > 0:
            layers += [nn.BatchNorm2d(channels), act(), conv(channels, channels // 2, kernel=1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(layers_each):
            layers.append(DenseLayer(channels, growth, case, rate, activation))
            channels += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), act(), *_head(channels))


def _between(case: str, norm: nn.Module, act: nn.Module, drop: nn.Module) -> list[nn.Module]:
    """What follows a weight layer of a plain stack; "d" drops what the weight layer itself puts out."""
    return {"a": [act, drop, norm], "b": [norm, act, drop], "d": [drop, norm, act]}[case]


def stack(
    case: str,
    rate: float,
    activation: str,
    *,
    pooled: bool,
    drop: Drop = nn.Dropout,
    widths: tuple[int, ...] = (24, 24, 48, 48, 64),
) -> nn.Sequential:
    """Convolutions, made smaller twice: by max-pooling or by strides."""
    layers: list[nn.Module] = []
    inputs = 1
    for place, outputs in enumerate(widths):
        shrinks = place in (1, 3)
        layers.append(conv(inputs, outputs, stride=2 if shrinks and not pooled else 1))
        layers += _between(case, nn.BatchNorm2d(outputs), ACTIVATIONS[activation](), drop(rate))
        if shrinks and pooled:
            layers.append(nn.MaxPool2d(2))
        inputs = outputs
    return nn.Sequential(*layers, *_head(inputs))


def perceptron(case: str, rate: float, activation: str, widths: tuple[int, ...] = (128, 96, 64, 64)) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = SIDE**2
    for outputs in widths:
        layers.append(nn.Linear(inputs, outputs))
        layers += _between(case, nn.BatchNorm1d(outputs), ACTIVATIONS[activation](), nn.Dropout(rate))
        inputs = outputs
    return nn.Sequential(*layers, nn.Linear(inputs, DIGITS))


def series_stack(
    case: str, rate: float, activation: str, widths: tuple[int, ...] = (24, 32, 48, 48), kernel: int = 5
) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 2
    for place, outputs in enumerate(widths):
        layers.append(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False))
        layers += _between(case, nn.BatchNorm1d(outputs), ACTIVATIONS[activation](), nn.Dropout(rate))
        if place in (0, 2):
            layers.append(nn.MaxPool1d(2))
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(inputs, SERIES_CLASSES))


FAMILIES: dict[str, Callable[[str, float, str], nn.Sequential]] = {
    "preact": pre_activation,
    "wide": partial(pre_activation, width=32, blocks=1),
    "gated": gated,
    "droppath": drop_path,
    "channelpreact": partial(pre_activation, blocks=1, drop=nn.Dropout2d),
    "postact": post_activation,
    "inverted": inverted,
    "dense": dense,
    "maxpool": partial(stack, pooled=True),
    "channelmaxpool": partial(stack, pooled=True, drop=nn.Dropout2d),
    "strided": partial(stack, pooled=False),
    "mlp": perceptron,
    "series": series_stack,
    # For the nets set aside.
    "mlpdeep": partial(perceptron, widths=(96,) * 6),
    "mlpwide": partial(perceptron, widths=(320, 160)),
    "slim": partial(pre_activation, width=8, blocks=3),
    "slimgated": partial(gated, width=8),
    "slimpath": partial(drop_path, width=8, blocks=3),
    "channelwide": partial(pre_activation, width=24, blocks=1, drop=nn.Dropout2d),
    "pooldeep": partial(stack, pooled=True, widths=(16, 32, 32, 40, 40, 56, 56)),
    "densethin": partial(dense, growth=12, layers_each=3),
    "serieslong": partial(series_stack, widths=(16, 24, 32, 40, 64), kernel=7),
}

NAMES = (
    *("preact-b-.3-relu", "preact-a-.3-relu", "preact-b-.5-silu", "preact-a-.1-gelu"),
    *("wide-b-.5-relu", "wide-a-.3-gelu", "gated-b-.5-relu", "droppath-b-.1-relu", "channelpreact-b-.5-relu"),
    *("postact-b-.5-relu", "inverted-b-.3-relu"),
    *("dense-b-.5-relu", "dense-a-.3-relu", "dense-b-.1-gelu"),
    *("maxpool-b-.5-relu", "maxpool-a-.1-relu", "maxpool-b-.3-silu", "channelmaxpool-b-.3-relu"),
    *("strided-b-.3-relu", "strided-a-.3-silu", "strided-b-.5-gelu", "strided-d-.3-relu"),
    *("mlp-b-.3-relu", "mlp-a-.3-relu", "mlp-b-.5-gelu", "mlp-a-.1-silu"),
    *("series-b-.5-relu", "series-a-.3-gelu"),
)

ASIDE = (
    *("mlpdeep-a-.2-silu", "mlpdeep-a-.4-gelu", "mlpwide-a-.2-relu", "mlpwide-a-.4-relu", "mlpdeep-b-.4-relu"),
    *("slim-a-.2-silu", "slimgated-a-.4-relu", "slimpath-b-.2-gelu", "channelwide-b-.2-silu"),
    *("pooldeep-b-.4-relu", "densethin-b-.4-silu", "serieslong-a-.4-relu", "serieslong-b-.2-gelu"),
)
"""Of other shapes and drop rates; see aside.py."""


def build(name: str) -> nn.Sequential:
    """The untrained network of a name such as ``preact-b-.3-relu``."""
    family, case, rate, activation = name.split("-")
    return FAMILIES[family](case, float(rate), activation)
