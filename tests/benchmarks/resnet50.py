"""A network of ResNet-50's size, in a file of its own that imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import conv

_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with norms, dropout before the last one, plus the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = _EXPANSION * width
        self.branch = nn.Sequential(
            *(conv(inputs, width, kernel=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(conv(width, width, stride), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1)),
            *(conv(width, outputs, kernel=1), nn.BatchNorm2d(outputs)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, stride, kernel=1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnet50() -> nn.Sequential:
    layers: list[nn.Module] = [conv(3, 64, 2, kernel=7), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for width, blocks, first in _STAGES:
        for block in range(blocks):
            layers.append(Bottleneck(channels, width, first if block == 0 else 1))
            channels = _EXPANSION * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
