"""Calibration: makes the masked copies at a norm's input have the moments that its running statistics remember."""

from __future__ import annotations

import torch
from torch import Tensor

from dropcheck.simulate.copies import TINY, Copies, Moments, by_channel, mean_var, moments
from dropcheck.simulate.stretches import Stretch

_ROUNDS = 6
_PROBES = 2
"""Masked copies used while solving; all of them get the solution."""
_HALVINGS = 5
_NORMAL = 3.0
"""Kurtosis of the normal distribution."""


def adjust(x: Tensor, copies: Copies, mean: Tensor, var: Tensor) -> Tensor:
    """``x`` with its signal, not its noise, moved and scaled to the given moments per channel.

    ``mean`` and ``var``, ``(channels,)``, are those of signal + noise. The noise that a weight layer passes on depends
    on the second moments of its inputs alone (Kim et al. 2023, supplement, Eq. 9 and 12), which are right already;
    the signal depends on how they are correlated, which nobody knows: so the running variance decides it.
    """
    m = without_tails(moments(x, copies))
    mean, var = mean[:, None], var[:, None]
    keep = (0.95 * var / m.noise_var.clamp_min(1e-20)).clamp_max(1.0).sqrt()  # the noise may exceed the whole
    known = m.signal_var.clamp_min(TINY).maximum(1e-4 * m.noise_var)
    scale = ((var - m.noise_var * keep**2) / known).clamp_min(0.0).sqrt().clamp_max(100.0)
    base = (scale - keep) * m.signal + (mean - scale * m.mean)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    into = copies.split(by_channel(out))  # one copy after the other: all at once would take several times the memory
    for values, copy in zip(into, m.copies, strict=False):
        torch.addcmul(base, copy, keep, out=values)
    into[-1] = m.clean * scale + (mean - scale * m.mean)
    return out


def undo_masks(mean: Tensor, var: Tensor, gain: float) -> Tensor:
    """The variance before masks of mean 1 and mean square ``gain``, from the moments behind them, ``(channels,)``.

    Li et al. 2019, Eq. 6 inverted: E[x²] = (mean² + var) / gain, and the mean is the same. At least 2 % of ``var``
    is left, since running statistics are estimates.
    """
    return ((var + mean.square()) / gain - mean.square()).maximum(0.02 * var)


def solve(stretch: Stretch, copies: Copies, mean: Tensor, var: Tensor) -> Tensor:
    """The stretch's output after its root's signal is shifted and scaled so that the output has the given moments.

    Two unknowns and two equations per channel, through whatever activations, masks and pools the stretch holds;
    ``mean`` and ``var`` are ``(channels,)``. What the solution misses is made up by a last scaling.
    """
    problem = _Problem(stretch, copies, mean[:, None], var[:, None].clamp_min(TINY))
    shift, scale = problem.start()
    for _ in range(_ROUNDS):
        shift, scale = problem.improved(shift, scale)
    root = stretch.root
    m = problem.moments
    masked = problem.values(shift, scale, m.signal) + problem.noise
    clean = problem.values(shift, scale, m.clean)
    out = stretch.replay(torch.cat([masked, clean[None]]).reshape(root.shape), slice(None))
    y = by_channel(out)
    now_mean, now_var = mean_var(copies.masked(y))
    rest = (problem.var / now_var.clamp_min(TINY)).sqrt().clamp(0.2, 5.0)
    return ((y - now_mean) * rest + problem.mean).reshape(out.shape)


def without_tails(m: Moments) -> Moments:
    """Vectors with their signal's tails cut down to a normal distribution's; its moments stay. Maps: as they are.

    Sums of many units are close to normal on data (kurtosis 2.4 to 3.5 in perceptrons of ours), on synthetic vectors
    not (4 to 7), since a few samples are large in all units: so the size of large samples decides, by one power for
    all, how far every sample is drawn to the mean.
    """
    if m.signal.shape[2] > 1:
        return m
    spread = mean_var(m.signal)[1].clamp_min(TINY).sqrt()
    z = (m.signal - m.mean) / spread
    size = z.square().mean(1, keepdim=True).sqrt()
    size = (size / size.square().mean().clamp_min(TINY).sqrt()).clamp_min(0.05)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS if _kurtosis(z) > _NORMAL else 0):
        power = (low + high) / 2.0
        low, high = (power, high) if _kurtosis(z * size**-power) > _NORMAL else (low, power)
    if low == 0.0:
        return m
    factor = size**-low
    mean, var = mean_var(z * factor)
    scale = var.clamp_min(TINY).rsqrt()
    signal, clean = (m.mean + ((values - m.mean) * factor - spread * mean) * scale for values in (m.signal, m.clean))
    return Moments(m.copies - m.signal + signal, clean, signal, m.mean, m.signal_var, m.noise_var)


def _kurtosis(z: Tensor) -> float:
    """The median over channels of ``(batch, channels, 1)``."""
    z = z - z.mean(0)
    return float((z.pow(4).mean(0) / z.square().mean(0).square().clamp_min(TINY)).median())


class _Problem:
    """Damped Newton steps on shift and log-scale of the root, in units of the wanted standard deviation."""

    def __init__(self, stretch: Stretch, copies: Copies, mean: Tensor, var: Tensor) -> None:
        self.stretch, self.mean, self.var = stretch, mean, var
        self.moments: Moments = without_tails(moments(stretch.root, copies))
        m = self.moments
        self.noise = m.copies - m.signal
        self.std = var.sqrt()
        self.unit = m.signal_var.maximum(1e-3 * m.noise_var).clamp_min(TINY).sqrt()
        self.probes = min(_PROBES, copies.masks)
        self.rows = slice(0, self.probes * (stretch.root.shape[0] // copies.count))

    def values(self, shift: Tensor, scale: Tensor, signal: Tensor) -> Tensor:
        """The root's signal moved to ``shift`` and scaled by exp ``scale``."""
        return self.std * (shift + scale.exp() / self.unit * (signal - self.moments.mean))

    def missed(self, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """How far the output is off: its mean in standard deviations, and the logarithm of its own."""
        x = self.values(shift, scale, self.moments.signal) + self.noise[: self.probes]
        y = by_channel(self.stretch.replay(x.reshape(-1, *self.stretch.root.shape[1:]), self.rows))
        mean, var = mean_var(y)
        return (mean - self.mean) / self.std, 0.5 * (var.clamp_min(TINY) / self.var).log()

    def start(self) -> tuple[Tensor, Tensor]:
        """The root as it is; a dead unit, which has no slope to follow, half alive."""
        shift, scale = self.moments.mean / self.std, (self.unit / self.std).log()
        dead = self.missed(shift, scale)[1] < -1.5
        # A ReLU passes a third of the variance of N(0, s²).
        alive = 0.5 * (3.0 - self.moments.noise_var / self.var).clamp_min(0.1).log()
        return torch.where(dead, 0.0, shift).clamp(-10.0, 10.0), torch.where(dead, alive, scale).clamp(-4.0, 3.0)

    def improved(self, shift: Tensor, scale: Tensor, step: float = 1e-2) -> tuple[Tensor, Tensor]:
        """One damped Newton step with slopes taken numerically."""
        r1, r2 = self.missed(shift, scale)
        (a1, a2), (b1, b2) = self.missed(shift + step, scale), self.missed(shift, scale + step)
        j11, j12, j21, j22 = (a1 - r1) / step, (b1 - r1) / step, (a2 - r2) / step, (b2 - r2) / step
        h11, h22, h12 = j11**2 + j21**2 + 1e-3, j12**2 + j22**2 + 1e-3, j11 * j12 + j21 * j22
        g1, g2, det = j11 * r1 + j21 * r2, j12 * r1 + j22 * r2, (h11 * h22 - h12**2).clamp_min(1e-9)
        shift = shift - ((h22 * g1 - h12 * g2) / det).clamp(-1.0, 1.0)
        scale = scale - ((h11 * g2 - h12 * g1) / det).clamp(-0.7, 0.7)
        return shift.clamp(-10.0, 10.0), scale.clamp(-4.0, 3.0)
