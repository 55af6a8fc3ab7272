"""A convolutional network in the functional style: parameters and buffers as attributes, layers as function calls.

Input: images 2x3x32x32. Output: one score per class.

What dropcheck says: there is not one nn.Dropout and not one nn.BatchNorm2d here, and the faults are found all the same,
because it looks at what is computed. Each stage drops right before it normalises, which is an error, at the call of
F.dropout. The dropout before the output layer comes after the last F.batch_norm and is left alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stage(nn.Module):
    """Conv-ReLU-Dropout-BN-AvgPool, written out."""

    def __init__(self, in_channels: int, channels: int, drop_rate: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, in_channels, 3, 3))
        nn.init.kaiming_normal_(self.weight)
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.weight, padding=1))
        x = F.dropout(x, p=self.drop_rate, training=self.training)
        x = F.batch_norm(x, self.running_mean, self.running_var, self.gamma, self.beta, training=self.training)
        return F.avg_pool2d(x, 2)


class FunctionalNet(nn.Module):
    def __init__(self, num_classes: int = 10, drop_rate: float = 0.25) -> None:
        super().__init__()
        self.stage1 = Stage(3, 32, drop_rate)
        self.stage2 = Stage(32, 64, drop_rate)
        self.stage3 = Stage(64, 128, drop_rate)
        self.hidden = nn.Linear(128 * 4 * 4, 128)
        self.out = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(images)))
        x = F.relu(self.hidden(torch.flatten(x, 1)))
        x = F.dropout(x, p=0.5, training=self.training)
        return self.out(x)
