"""DenseNet-BC (Huang et al. 2017) for small images, with dropout after every convolution of a dense layer.

Input: images 2x3x32x32. Output: one score per class.

What dropcheck says: both dropouts of a dense layer are reported. The one after the bottleneck convolution stands right
before the layer's second batch norm. The one after the 3x3 convolution is concatenated into the stream, and every later
layer of the dense block begins with a batch norm of that stream, so its noise is met again and again with no weight
layer between. What would help: one dropout per layer, right before the 3x3 convolution, and a modest drop rate.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """BN-ReLU-Conv1x1 bottleneck, then BN-ReLU-Conv3x3; adds ``growth`` channels to what it was given."""

    def __init__(self, in_channels: int, growth: int, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        out = F.dropout(out, self.drop_rate, self.training)
        out = self.conv2(F.relu(self.norm2(out)))
        out = F.dropout(out, self.drop_rate, self.training)
        return torch.cat([x, out], 1)


class Transition(nn.Sequential):
    """Between two dense blocks: fewer channels, half the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.AvgPool2d(2),
        )


class DenseNet(nn.Module):
    def __init__(
        self, layers_per_block: int = 6, growth: int = 12, num_classes: int = 10, drop_rate: float = 0.2
    ) -> None:
        super().__init__()
        channels = 2 * growth
        features: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for block in range(3):
            for _ in range(layers_per_block):
                features.append(DenseLayer(channels, growth, drop_rate))
                channels += growth
            if block < 2:
                features.append(Transition(channels, channels // 2))
                channels //= 2
        self.features = nn.Sequential(*features)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.norm(self.features(images)))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.classifier(out)
