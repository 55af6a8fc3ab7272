"""A plain image classifier whose every block is Conv-BN-ReLU-Dropout, with max-pooling between the blocks.

Input: images 2x3x32x32. Output: one score per class.

What dropcheck says: every block is reported, because the noise of its dropout goes through the next max-pool and the
next convolution into the batch norm of the next block. Max-pooling makes it worse than the drop rate suggests: it
picks the largest of a few noisy values, and the largest were scaled up by the dropout. Networks like this one lose a
good part of their test accuracy to it and win most of it back when the batch norms are re-estimated without dropout.
The last block is the exception: no batch norm comes after it.
"""

import torch
from torch import Tensor, nn


def conv_block(in_channels: int, out_channels: int, drop_rate: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Dropout(drop_rate),
    )


class ConvNet(nn.Module):
    def __init__(
        self, num_classes: int = 10, widths: tuple[int, ...] = (32, 64, 128, 128), drop_rate: float = 0.3
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 3
        for width in widths:
            blocks += [conv_block(channels, width, drop_rate), nn.MaxPool2d(2)]
            channels = width
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels * 2 * 2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(images), 1))
