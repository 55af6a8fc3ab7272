"""The blocks the benchmark networks are made of.

``case`` says where dropout stands, as Li et al. 2019 do: "a" right before a norm, "b" with a weight layer between.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Drop = Callable[[float], nn.Module]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class DropPath(nn.Module):
    """Drops the whole branch of a sample."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        keep_prob = 1.0 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep_prob)
        return x * mask / keep_prob


class Gate(nn.Module):
    """Squeeze-and-excitation: every channel scaled by what all of them say."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1))
        self.excite = nn.Sequential(ACTIVATIONS[activation](), nn.Conv2d(channels // 4, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.excite(self.squeeze(x))
        return x * gate


class PreActivation(nn.Module):
    """norm → act → conv → [drop, a] → norm → act → [drop, b] → conv, plus the shortcut."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, case: str, rate: float, activation: str, drop: Drop = nn.Dropout
    ) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs)
        self.act = ACTIVATIONS[activation]()
        self.before_norm = drop(rate) if case == "a" else nn.Identity()
        self.before_conv = drop(rate) if case == "b" else nn.Identity()
        self.after: nn.Module = nn.Identity()
        self.shortcut = conv(inputs, outputs, stride, kernel=1) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm1(x))
        stream: Tensor = x if self.shortcut is None else self.shortcut(h)
        h = self.before_norm(self.conv1(h))
        h = self.conv2(self.before_conv(self.act(self.norm2(h))))
        branch: Tensor = self.after(h)
        return stream + branch


class PostActivation(nn.Module):
    """conv → norm → act → drop → conv → norm, plus the shortcut, then act."""

    def __init__(self, inputs: int, outputs: int, stride: int, rate: float, activation: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.drop, self.act = nn.Dropout(rate), ACTIVATIONS[activation]()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, stride, kernel=1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.act(self.norm1(self.conv1(x))))
        out: Tensor = self.act(self.norm2(self.conv2(h)) + self.shortcut(x))
        return out


class InvertedResidual(nn.Module):
    """1×1 conv → depthwise conv → drop → 1×1 conv with norms between, plus the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, rate: float, activation: str) -> None:
        super().__init__()
        hidden, act = 3 * inputs, ACTIVATIONS[activation]
        self.branch = nn.Sequential(
            *(conv(inputs, hidden, kernel=1), nn.BatchNorm2d(hidden), act()),
            *(conv(hidden, hidden, stride, groups=hidden), nn.BatchNorm2d(hidden), act()),
            *(nn.Dropout(rate), conv(hidden, outputs, kernel=1), nn.BatchNorm2d(outputs)),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.branch(x)
        return x + out if self.adds else out


class DenseLayer(nn.Module):
    """norm → act → [drop, b] → conv → [drop, a], beside the input."""

    def __init__(self, inputs: int, growth: int, case: str, rate: float, activation: str) -> None:
        super().__init__()
        before = nn.Dropout(rate) if case == "b" else nn.Identity()
        after = nn.Dropout(rate) if case == "a" else nn.Identity()
        self.new = nn.Sequential(nn.BatchNorm2d(inputs), ACTIVATIONS[activation](), before, conv(inputs, growth), after)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], 1)
