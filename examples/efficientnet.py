"""A small EfficientNet: inverted bottlenecks with squeeze-and-excitation, SiLU and stochastic depth.

Input: images 2x3x64x64. Output: one score per class.

What dropcheck says: dropout stands only in the head, after the last batch norm, so no stored variance is spoilt by it.
It comes after global average pooling, though, and a remark says how much gentler the same drop rate would be before it.
Stochastic depth drops whole branches; its rates are small and grow with depth, as they should.
"""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: zeroes the whole branch of a sample with probability ``drop_rate``."""

    def __init__(self, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_rate == 0.0:
            return branch
        keep = 1.0 - self.drop_rate
        mask = branch.new_empty((branch.shape[0], 1, 1, 1)).bernoulli_(keep)
        return branch * mask / keep


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def conv_bn_act(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.SiLU(),
    )


class MBConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, drop_rate: float, expand: int = 4) -> None:
        super().__init__()
        hidden = in_channels * expand
        self.branch = nn.Sequential(
            conv_bn_act(in_channels, hidden, 1),
            conv_bn_act(hidden, hidden, 3, stride, groups=hidden),
            SqueezeExcite(hidden, max(1, in_channels // 4)),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.residual = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.branch(x)) if self.residual else self.branch(x)


class EfficientNet(nn.Module):
    def __init__(self, num_classes: int = 10, drop_rate: float = 0.2, drop_path_rate: float = 0.1) -> None:
        super().__init__()
        plan = [(16, 1), (24, 2), (24, 1), (40, 2), (40, 1), (80, 2), (80, 1), (80, 1)]  # (channels, stride) per block
        rates = torch.linspace(0.0, drop_path_rate, len(plan), device="cpu").tolist()
        self.stem = conv_bn_act(3, 16, 3, stride=2)
        inputs = [16, *(channels for channels, _ in plan)]
        self.blocks = nn.Sequential(
            *(MBConv(n, width, stride, rate) for n, (width, stride), rate in zip(inputs, plan, rates, strict=False))
        )
        self.top = conv_bn_act(80, 320, 1)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(drop_rate), nn.Linear(320, num_classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.top(self.blocks(self.stem(images))))
