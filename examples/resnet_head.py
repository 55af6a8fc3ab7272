"""ResNet-18 with one dropout in its head, before global average pooling or after it.

Input: images 2x3x64x64. Output: one score per class.

What dropcheck says: in both versions the dropout comes after the last batch norm, so no stored variance is spoilt.
``ResNet`` drops before the pooling: independent noise at every position averages out when the positions are pooled, and
nothing is reported. ``resnet18_dropout_after_pool`` drops whole pooled features, as most published heads do: the same
drop rate then puts far more noise on the scores, and a remark says so and names both variances.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x))


def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(in_channels, channels, stride), *(BasicBlock(channels, channels) for _ in range(blocks - 1))
    )


class ResNet(nn.Module):
    def __init__(
        self,
        layers: tuple[int, int, int, int] = (2, 2, 2, 2),
        num_classes: int = 10,
        drop_rate: float = 0.2,
        drop_before_pool: bool = True,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.layer1 = stage(64, 64, layers[0], stride=1)
        self.layer2 = stage(64, 128, layers[1], stride=2)
        self.layer3 = stage(128, 256, layers[2], stride=2)
        self.layer4 = stage(256, 512, layers[3], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(512, num_classes)
        self.drop_before_pool = drop_before_pool

    def forward(self, images: Tensor) -> Tensor:
        out = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(images)))))
        if self.drop_before_pool:
            return self.fc(self.pool(self.drop(out)).flatten(1))
        return self.fc(self.drop(self.pool(out).flatten(1)))


def resnet18_dropout_after_pool(num_classes: int = 10) -> ResNet:
    return ResNet((2, 2, 2, 2), num_classes, drop_before_pool=False)
