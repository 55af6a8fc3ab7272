"""What a norm makes of small maps, and of units that rest most of the time: in training, and in evaluation.

In training each batch is scaled by its own statistics. One with samples that are large in many channels at once is
scaled down for that, and a unit that hardly ever fires is at rest throughout most batches: both add less to what comes
next than running statistics would have it. In evaluation there are only those; they hold about ``batch / momentum``
samples, so of a unit that hardly ever fires a few events or none, dying away since the last one. All of it is our own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dropcheck.simulate.copies import TINY, Copies, by_channel, mean_var
from dropcheck.simulate.stretches import Stretch

_BATCH = 64
"""Samples of a training batch: no checkpoint tells how many."""

_FAR = 50.0
"""Standard deviations below zero at which whatever saturates does."""

_LEAST = 1e-300


def firing(x: Tensor, stretch: Stretch | None, copies: Copies, mean: Tensor, var: Tensor) -> Tensor | None:
    """The share of samples in which a unit does not rest, ``(channels,)``; None where units do not rest, and of maps.

    ``x`` is as it comes out of ``stretch``; ``mean`` and ``var`` are what a norm remembers of it. The share is
    height² / var for events of one size; what lies beyond the rest (the dip of a GELU) is not held against them.
    """
    if stretch is None or not stretch.steps or x.dim() != 2:
        return None
    rest = _rest(stretch, copies)
    if rest is None:
        return None
    dips = (rest - copies.masked(x)).clamp_min(0.0).mean(0)
    height = (mean - rest).abs().maximum(mean - rest + 2.0 * dips)
    return (height.double().square() / var.double().clamp_min(_LEAST)).clamp(_LEAST, 1.0)


def as_met(x: Tensor, copies: Copies, mean: Tensor, var: Tensor, share: Tensor, momentum: float, eps: float) -> Tensor:
    """Vectors ``x``, calibrated to ``mean`` and ``var``, changed as if the norm scaled by ``var`` in all copies.

    The masked copies get what is left of them where each batch is scaled by its own statistics; the clean one gets
    the variance that evaluation is expected to meet.
    """
    var, moved = var.double(), by_channel(x) - mean[:, None]
    masked, clean = copies.masked(moved), copies.clean(moved)
    excess = _excess(share, var, momentum)
    now = mean_var(masked)[1][:, 0].double().clamp_min(_LEAST)
    clean.mul_((excess * var / now.maximum(var)).sqrt().to(x.dtype)[:, None])
    in_batch = -torch.expm1(-_BATCH * share * excess)
    _scale(masked, copies, (var + eps) * in_batch, 2 * _BATCH, eps)  # synthetic vectors differ more in size than data
    return (moved + mean[:, None]).reshape(x.shape)


def maps_as_met(x: Tensor, copies: Copies, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """The same for maps: places of one sample are alike, so that batches differ where maps are small."""
    if x.dim() < 3 or x.shape[0] < 2 * _BATCH * copies.count:
        return x
    moved = by_channel(x) - mean[:, None]
    _scale(copies.masked(moved), copies, var + eps, _BATCH, eps)
    return (moved + mean[:, None]).reshape(x.shape)


def _scale(masked: Tensor, copies: Copies, var: Tensor, size: int, eps: float) -> None:
    """Scales every ``size`` samples of ``masked``, in place, by their own statistics, and all of them to ``var``.

    All are one batch where there are not enough samples for two.
    """
    count = masked.shape[0] // copies.masks // size
    for copy in masked.chunk(copies.masks) if count > 1 else (masked,):
        for batch in copy.chunk(max(1, count)):
            own_mean, own_var = mean_var(batch)
            batch.sub_(own_mean).mul_((own_var + eps).rsqrt())
    now = mean_var(masked)[1][:, 0].double().clamp_min(_LEAST)
    masked.mul_((var / now).sqrt().to(masked.dtype)[:, None])


def _excess(share: Tensor, var: Tensor, momentum: float) -> Tensor:
    """By how much a variance exceeds its running average, which remembers k events: by (k + 2/3) / k.

    k + 2/3 is about the median of what produces k events (a gamma distribution's, of shape k + 1). A share smaller
    than one event in the last batch has decayed: as many batches have passed since, and count as looked through.
    ``momentum`` of 0 stands for the plain mean over all batches, which remembers everything.
    """
    if not 0.0 < momentum < 1.0:
        return torch.ones_like(share)
    since = ((momentum / (_BATCH * share)).log() / -math.log1p(-momentum)).clamp_min(0.0)
    excess = 1.0 + 2.0 / 3.0 / (share * _BATCH * (1.0 / momentum + since))
    return torch.where(_is_remembered(share, var), excess, 1.0)


def _is_remembered(share: Tensor, var: Tensor) -> Tensor:
    """Whether a running variance tells of events, not of its start at 1, which dies away as if it had seen one.

    Events would be at most twice as high as those of units that fire often; a start is out of proportion to the mean.
    """
    size = var / share  # events squared
    often = share > 1.0 / _BATCH
    return size <= 4.0 * size[often].amax() if bool(often.any()) else torch.zeros_like(often)


def _rest(stretch: Stretch, copies: Copies) -> Tensor | None:
    """The value at which units rest, ``(channels,)``: what the stretch makes of very negative ones. None if none."""
    root = stretch.root
    scale = copies.masked(root).std().clamp_min(TINY)
    rows = slice(root.shape[0] - 1, root.shape[0])  # of the clean copy
    depths = (-_FAR * scale, -2.0 * _FAR * scale)
    far, farther = (stretch.replay(depth.expand(root[rows].shape).clone(), rows)[0] for depth in depths)
    return far if bool((far - farther).abs().max() <= 1e-3 * scale) else None
