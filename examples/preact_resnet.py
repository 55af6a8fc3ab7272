"""A pre-activation ResNet for small images, with dropout at any position of the residual branch.

    stream ──┬─ bn1 ─ relu ─ conv1 ─(1)─ bn2 ─ relu ─(2)─ conv2 ─(3)─┐
             └──────────────────── shortcut ─────────────────────── add ─(4)─ next block

Input: images 2x3x32x32. Output: one score per class.

What dropcheck says: position 1 is the worst, the dropout stands right before the block's own batch norm. Position 2 is
the recommended one: after the last batch norm and before the last weight layer of the branch. What is left of its noise
reaches the batch norms of the later blocks through conv2, and in a network as narrow as this one that is still worth a
remark. Position 3 drops what conv2 has already summed up, and position 4 the stream itself: from both the noise reaches
every later batch norm with no weight layer between.
"""

from enum import Enum

import torch.nn.functional as F
from torch import Tensor, nn


class Position(Enum):
    BEFORE_NORM = 1
    BEFORE_LAST_CONV = 2
    AFTER_LAST_CONV = 3
    AFTER_ADD = 4


class PreActBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, drop_rate: float, position: Position) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.drop = nn.Dropout(drop_rate)
        self.position = position
        self.project = None
        if stride != 1 or in_channels != channels:
            self.project = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        out = F.relu(self.bn1(stream))
        shortcut = stream if self.project is None else self.project(out)
        out = self.conv1(out)
        if self.position is Position.BEFORE_NORM:
            out = self.drop(out)
        out = F.relu(self.bn2(out))
        if self.position is Position.BEFORE_LAST_CONV:
            out = self.drop(out)
        out = self.conv2(out)
        if self.position is Position.AFTER_LAST_CONV:
            out = self.drop(out)
        out = out + shortcut
        return self.drop(out) if self.position is Position.AFTER_ADD else out


class PreActResNet(nn.Module):
    def __init__(
        self,
        blocks_per_stage: int = 3,
        num_classes: int = 10,
        drop_rate: float = 0.3,
        position: Position = Position.BEFORE_LAST_CONV,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        blocks, channels = [], 16
        for width, stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(blocks_per_stage):
                blocks.append(PreActBlock(channels, width, stride if index == 0 else 1, drop_rate, position))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn(self.blocks(self.stem(images))))
        return self.fc(out.mean((2, 3)))


def dropout_before_norm() -> PreActResNet:
    return PreActResNet(position=Position.BEFORE_NORM)


def dropout_after_last_conv() -> PreActResNet:
    return PreActResNet(position=Position.AFTER_LAST_CONV)


def dropout_after_add() -> PreActResNet:
    return PreActResNet(position=Position.AFTER_ADD)
