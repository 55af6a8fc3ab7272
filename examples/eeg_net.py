"""A compact convolutional network for EEG trials, after EEGNet (Lawhern et al. 2018).

Input: trials 2x1x22x256 (one plane, electrodes, samples in time). Output: one score per class.

What dropcheck says: half of the values are dropped after the spatial filters, and a batch norm follows only a depthwise
and a pointwise convolution later. Both sum only a few inputs each, too few to average the noise out, so
that batch norm expects more variance than it meets at evaluation. The high drop rate is reported as well. The second
dropout stands after the last batch norm, before the classifier, and harms nothing.
"""

from torch import Tensor, nn


class EEGNet(nn.Module):
    """``filters`` temporal filters, each with ``depth`` spatial filters over all electrodes."""

    def __init__(
        self,
        electrodes: int = 22,
        samples: int = 256,
        num_classes: int = 4,
        filters: int = 8,
        depth: int = 2,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        channels = filters * depth
        self.temporal = nn.Sequential(
            nn.Conv2d(1, filters, (1, 64), padding=(0, 32), bias=False),
            nn.BatchNorm2d(filters),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(filters, channels, (electrodes, 1), groups=filters, bias=False),
            nn.BatchNorm2d(channels),
            nn.ELU(),
            nn.AvgPool2d((1, 4)),
            nn.Dropout(drop_rate),
        )
        self.separable = nn.Sequential(
            nn.Conv2d(channels, channels, (1, 16), padding=(0, 8), groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ELU(),
            nn.AvgPool2d((1, 8)),
            nn.Dropout(drop_rate),
        )
        self.classifier = nn.Linear(channels * (samples // 32), num_classes)

    def forward(self, trials: Tensor) -> Tensor:
        features = self.separable(self.spatial(self.temporal(trials)))
        return self.classifier(features.flatten(1))
