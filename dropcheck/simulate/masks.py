"""Multiplicative masks of every granularity, drawn here so that the clean copy can be spared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dropcheck.ops import Dropout, Granularity
from dropcheck.simulate.copies import Copies

_SELU_FLOOR = -1.7580993408473766
"""What alpha dropout puts in place of a dropped unit: −λα of SELU."""


_LEVELS = 2**16


def bernoulli(shape: Sequence[int], keep_prob: float, like: Tensor) -> Tensor:
    """Independent ones with probability ``keep_prob`` (to within 1/65536) and zeros, of the type of ``like``.

    Several times as fast as Tensor.bernoulli_, which draws a double for each.
    """
    count, least = math.prod(shape), -(2**63)
    words = torch.empty(-(-count // 4), dtype=torch.int64, device=like.device).random_(least, None)
    kept = words.view(torch.int16)[:count] < round(keep_prob * _LEVELS) - _LEVELS // 2
    return kept.view(*shape).to(like.dtype)


def affine(x: Tensor, op: Dropout, copies: Copies, block: int, scaled: bool) -> tuple[Tensor, Tensor | None]:
    """``factor`` and ``offset`` with which a dropout turns x into x · factor + offset; 1 and 0 on the clean copy.

    Args:
        block: side length of the squares that block dropout zeroes.
        scaled: whether what is kept is divided by keep_prob.
    """
    keep = 1.0 - op.drop_rate
    if op.granularity is Granularity.BLOCK and x.dim() == 4:
        factor = _blocks(x, op.drop_rate, block)
    else:
        factor = bernoulli(_shape(x, op.granularity), keep, x)
        if scaled and not op.alpha and keep > 0.0:
            factor.div_(keep)
    offset = None
    if op.alpha:
        factor, offset = _selu(factor, keep)
        copies.clean(offset).fill_(0.0)
    copies.clean(factor).fill_(1.0)
    return factor, offset


def _shape(x: Tensor, granularity: Granularity) -> Sequence[int]:
    free = {Granularity.CHANNEL: 2, Granularity.SAMPLE: 1}.get(granularity, x.dim())
    return [n if axis < free else 1 for axis, n in enumerate(x.shape)]


def _selu(kept: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Dropped units become the SELU's floor, then mean 0 and variance 1 are restored (Klambauer et al. 2017)."""
    scale = (keep * (1.0 + (1.0 - keep) * _SELU_FLOOR**2)) ** -0.5 if keep > 0.0 else 0.0
    return scale * kept, scale * _SELU_FLOOR * ((1.0 - kept) - (1.0 - keep))


def _blocks(x: Tensor, drop_rate: float, block: int) -> Tensor:
    """Squares of zeros, the same in all channels' stead drawn anew; the rest scaled so that the mask's mean is 1.

    Ghiasi et al. 2018, Algorithm 1.
    """
    height, width = x.shape[-2:]
    side = max(1, min(block, height, width))
    seeds = drop_rate / side**2 * (height * width) / ((height - side + 1) * (width - side + 1))
    dropped = bernoulli(x.shape, min(1.0, seeds), x)
    dropped = F.max_pool2d(dropped, side, stride=1, padding=side // 2)[..., :height, :width]
    kept = 1.0 - dropped
    return kept / kept.mean().clamp_min(1e-6)
