"""Wide ResNet 28-10 (Zagoruyko & Komodakis 2016) with dropout between the two convolutions of a block.

Input: images 2x3x32x32. Output: one score per class.

What dropcheck says: nothing. The dropout stands where it should, after the last batch norm of the branch and before its
last convolution, and that convolution is wide: it sums so many inputs that their independent noise averages out before
the next batch norm sees it. The same blocks a tenth as wide would not get away with it.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class WideBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(drop_rate)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.equal = in_channels == channels
        if not self.equal:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        residual = x if self.equal else self.shortcut(out)
        out = F.relu(self.bn2(self.conv1(out)))
        out = self.conv2(self.dropout(out))
        return out + residual


def stage(blocks: int, in_channels: int, channels: int, stride: int, drop_rate: float) -> nn.Sequential:
    first = WideBlock(in_channels, channels, stride, drop_rate)
    return nn.Sequential(first, *(WideBlock(channels, channels, 1, drop_rate) for _ in range(blocks - 1)))


class WideResNet(nn.Module):
    """``depth`` = 6n + 4 gives three stages of n blocks; ``widen`` multiplies their 16, 32 and 64 channels."""

    def __init__(self, depth: int = 28, widen: int = 10, num_classes: int = 10, drop_rate: float = 0.3) -> None:
        super().__init__()
        if (depth - 4) % 6 != 0:
            raise ValueError(f"depth must be 6n + 4, got {depth}")
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stage1 = stage(blocks, 16, 16 * widen, 1, drop_rate)
        self.stage2 = stage(blocks, 16 * widen, 32 * widen, 2, drop_rate)
        self.stage3 = stage(blocks, 32 * widen, 64 * widen, 2, drop_rate)
        self.bn = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.stage3(self.stage2(self.stage1(self.conv1(images))))
        out = F.avg_pool2d(F.relu(self.bn(out)), 8)
        return self.fc(out.flatten(1))
