"""One batch as several copies that meet different dropout masks, and one clean copy that meets none.

The copies lie behind each other along axis 0, the clean one last:  mask 1 | mask 2 | … | clean.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Copies:
    """How many masked copies there are, and how many samples in each."""

    masks: int
    batch: int

    @property
    def count(self) -> int:
        return self.masks + 1

    @property
    def rows(self) -> int:
        return self.count * self.batch

    def hold(self, x: Tensor) -> bool:
        """Whether axis 0 of ``x`` can be that of the copies (or of the copies' samples, each in several pieces)."""
        return x.dim() > 0 and x.shape[0] > 0 and x.shape[0] % self.rows == 0

    def split(self, x: Tensor) -> Tensor:
        """``(copies, batch, …)``."""
        return x.reshape(self.count, x.shape[0] // self.count, *x.shape[1:])

    def clean(self, x: Tensor) -> Tensor:
        """The clean copy ``(batch, …)``, a view."""
        return x[x.shape[0] // self.count * self.masks :]

    def masked(self, x: Tensor) -> Tensor:
        """The masked copies ``(masks · batch, …)``, a view."""
        return x[: x.shape[0] // self.count * self.masks]

    def noise(self, x: Tensor) -> Tensor:
        """Noise variance of each element, averaged over the batch, from two of the copies: ``(1, …)``."""
        y = self.split(x)
        return (y[0] - y[1]).square_().mean(0, keepdim=True) / 2.0

    def energy(self, x: Tensor) -> float:
        """Summed noise variance of one sample's elements."""
        return float(self.noise(x).sum()) if self.hold(x) and x.is_floating_point() else 0.0


@dataclass(frozen=True, slots=True)
class Moments:
    """Copies split into signal (the mean over masks) and noise (the rest); the moments are ``(channels, 1)``."""

    copies: Tensor  # (masks, batch, channels, places)
    clean: Tensor  # (batch, channels, places)
    signal: Tensor  # (batch, channels, places)
    mean: Tensor
    signal_var: Tensor
    noise_var: Tensor


def by_channel(x: Tensor) -> Tensor:
    """``(batch, channels, places)`` from ``(batch, channels, …)``."""
    return x.flatten(2) if x.dim() > 2 else x.unsqueeze(-1)


def mean_var(y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel of ``(batch, channels, places)``, ``(channels, 1)`` each."""
    # Many times faster than Tensor.var over two axes.
    mean = y.mean((0, 2))[:, None]
    return mean, (y - mean).square_().mean((0, 2))[:, None]


def moments(x: Tensor, copies: Copies) -> Moments:
    """Signal and noise of ``x``; the noise left in the mean over masks is taken off its variance."""
    masks = copies.masks
    y = copies.split(by_channel(x))
    masked, clean = y[:-1], y[-1]
    signal = masked.mean(0)
    noise_var = sum((copy - signal).square_().mean((0, 2)) for copy in masked)[:, None] / (masks - 1)
    mean, signal_var = mean_var(signal)
    return Moments(masked, clean, signal, mean, signal_var - noise_var / masks, noise_var)
