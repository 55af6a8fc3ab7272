"""A U-Net for segmentation with channel dropout at the end of every double convolution.

Input: images 2x1x64x64. Output: one score per class and pixel.

What dropcheck says: the dropout at the end of a double convolution is reported. In the encoder its noise goes through
max-pooling and the first convolution of the next level into a batch norm, and max-pooling makes it worse: it prefers
the values that the dropout scaled up. Along the skip connections and upwards in the decoder the noise passes only
through convolutions, which sum so many channels that little of it arrives. The very last dropout, before the final 1x1
convolution, has no batch norm after it.
"""

import torch
from torch import Tensor, nn


class DoubleConv(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int, drop_rate: float) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(drop_rate),
        )


class UpBlock(nn.Module):
    """Doubles the resolution, joins the encoder's features of that resolution, and convolves twice."""

    def __init__(self, in_channels: int, out_channels: int, drop_rate: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.conv = DoubleConv(2 * out_channels, out_channels, drop_rate)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


class UNet(nn.Module):
    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        inputs = (in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(DoubleConv(n, width, drop_rate) for n, width in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.decoder = nn.ModuleList(UpBlock(n, width, drop_rate) for n, width in ups)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x, skips = images, []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for block, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            x = block(x, skip)
        return self.head(x)
