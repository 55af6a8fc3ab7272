"""Training data that comes with scikit-learn or from a formula: digits as small images, two-channel series."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

SIDE = 16  # pixels of an upsampled digit
LENGTH = 64  # steps of a series
SERIES_CLASSES = 6
_MARGIN = 2  # pixels by which a digit is moved at most
_SHARE_FOR_TRAINING = 0.8


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs (N, channels, …) and labels (N,), shuffled: for training, and held out."""

    inputs: Tensor
    labels: Tensor
    held_inputs: Tensor
    held_labels: Tensor


def digits() -> Split:
    """1797 digits, (1, 16, 16), about standardised."""
    loaded = load_digits()
    images = torch.tensor(loaded.data, dtype=torch.float32).view(-1, 1, 8, 8) / 16.0
    images = F.interpolate(images, size=SIDE, mode="bilinear")
    return _split((images - 0.3) / 0.37, torch.tensor(loaded.target))


def series(samples: int = 1800) -> Split:
    """Six classes of frequency, (2, 64): a sine of random phase and height, and decaying pulses beside it."""
    generator = torch.Generator().manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(samples, 1, generator=generator)

    labels = torch.randint(0, SERIES_CLASSES, (samples,), generator=generator)
    time = torch.linspace(0.0, 1.0, LENGTH)
    phase = 2.0 * math.pi * torch.rand(samples, 1, generator=generator)
    start = torch.rand(samples, 1, generator=generator)
    angle = 2.0 * math.pi * (2.0 + 1.5 * labels[:, None] + 0.5 * normal()) * time
    wave = torch.sin(angle + phase) * (1.0 + 0.3 * normal())
    pulses = torch.sign(torch.cos(angle / 2.0 + phase)) * torch.exp(-3.0 * (time - start) ** 2)
    both = torch.stack([wave, pulses], 1)
    return _split(both + 0.2 * torch.randn(both.shape, generator=generator), labels)


def augmented(inputs: Tensor) -> Tensor:
    """Every sample changed on its own: one change for a whole batch would be removed by batch statistics."""
    return _moved_images(inputs) if inputs.dim() == 4 else _rolled_series(inputs)


def _moved_images(images: Tensor) -> Tensor:
    samples = len(images)
    padded = F.pad(images, (_MARGIN,) * 4, value=float(images.min()))[:, 0]
    moves = torch.randint(0, 2 * _MARGIN + 1, (samples, 2))
    rows = torch.arange(SIDE) + moves[:, :1]
    columns = torch.arange(SIDE) + moves[:, 1:]
    moved = padded[torch.arange(samples)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]
    contrast = 1.0 + 0.1 * torch.randn(samples, 1, 1, 1)
    return moved * contrast + 0.05 * torch.randn_like(moved)


def _rolled_series(inputs: Tensor) -> Tensor:
    steps = (torch.arange(LENGTH) + torch.randint(0, LENGTH, (len(inputs), 1, 1))) % LENGTH
    return torch.gather(inputs, 2, steps.expand_as(inputs)) + 0.1 * torch.randn_like(inputs)


def _split(inputs: Tensor, labels: Tensor) -> Split:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    cut = int(_SHARE_FOR_TRAINING * len(inputs))
    training, held = order[:cut], order[cut:]
    return Split(inputs[training], labels[training], inputs[held], labels[held])
