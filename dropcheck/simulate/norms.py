"""Norms in a masked-copies run: calibrated to their running statistics, Δ read off the clean copy."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dropcheck.simulate.batches import as_met, firing, maps_as_met
from dropcheck.simulate.calibrate import adjust, solve, undo_masks
from dropcheck.simulate.copies import TINY, Copies, by_channel, mean_var
from dropcheck.simulate.notes import Note, Notes
from dropcheck.simulate.stretches import Stretch

_LARGEST = 1e6
"""Δ is kept within 1e-6 … 1e6."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Δ of one norm; None where nothing is known. ``shares``: of the dropouts in its noise."""

    delta: float | None
    per_channel: tuple[float | None, ...] = ()
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Norms:
    """Runs the norms of one run.

    Attributes:
        judged: nodes that remember and whose input has the batch along axis 0.
        stored: memory of parameters and buffers, which must not be written to.
        found: Δ by node; filled while the run goes on.
    """

    copies: Copies
    notes: Notes
    judged: Set[str]
    stored: Set[int]
    found: dict[str, Measured]

    def batch_norm(
        self,
        name: str,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """F.batch_norm with the running statistics, or each kind of copy with its own where there are none."""
        note = self.notes[input]
        if running_mean is None or running_var is None:
            whole = self.copies.hold(input)
            parts = (self.copies.masked(input), self.copies.clean(input)) if whole else (input,)
            out = torch.cat([F.batch_norm(part, None, None, weight, bias, True, momentum, eps) for part in parts])
        else:
            if name in self.judged and self.copies.hold(input):
                input, running_mean, running_var = self._judge(name, input, running_mean, running_var, momentum, eps)
            out = F.batch_norm(input, running_mean, running_var, weight, bias, False, 0.0, eps)
        self.notes[out] = Note(note.blame)
        return out

    def instance_norm(
        self,
        name: str,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """F.instance_norm. One with memory trains on each sample's own variances and remembers their mean."""
        note = self.notes[input]
        own = running_mean is None or running_var is None
        if own or name not in self.judged or not self.copies.hold(input):
            out = F.instance_norm(input, running_mean, running_var, weight, bias, own, 0.0, eps)
        else:
            clean = self.copies.clean(input)
            stored = F.instance_norm(clean, running_mean, running_var, weight, bias, False, 0.0, eps)
            trained = F.instance_norm(self.copies.masked(input), None, None, weight, bias, True, 0.0, eps)
            out = torch.cat([trained, stored])
            variances = (by_channel(part).var(2, unbiased=False).mean(0) for part in (clean, self.copies.masked(input)))
            now, then = variances
            usable = now.isfinite() & then.isfinite() & (then > TINY)
            self.found[name] = _measured(now, then, usable, note.blame.shares if note.blame else {})
        self.notes[out] = Note(note.blame)
        return out

    def _judge(
        self, name: str, x: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The input as the norm meets it, calibrated, and statistics without those that are no numbers."""
        broken = ~(mean.isfinite() & var.isfinite() & (var >= 0.0))
        if broken.any():
            own_mean, own_var = (moment[:, 0] for moment in mean_var(self.copies.masked(by_channel(x))))
            mean, var = torch.where(broken, own_mean, mean), torch.where(broken, own_var, var)
        note = self.notes[x]
        share = firing(x, note.stretch, self.copies, mean, var)
        x = self._calibrated(x, mean, var)
        blame = note.blame
        clean = mean_var(self.copies.clean(by_channel(x)))[1][:, 0]
        self.found[name] = _measured(clean, var, ~broken & (var > TINY), blame.shares if blame else {})
        if share is not None:
            return as_met(x, self.copies, mean, var, share, momentum, eps), mean, var
        return maps_as_met(x, self.copies, mean, var, eps), mean, var

    def _calibrated(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """``x``, and what it was concatenated from, changed so that the masked copies have ``mean`` and ``var``."""
        note = self.notes[x]
        if note.calibrated:
            return x
        if note.parts:
            sizes = [part.shape[1] for part in note.parts]
            parts = zip(note.parts, torch.split(mean, sizes), torch.split(var, sizes), strict=True)
            now = torch.cat([self._calibrated(part, m, v) for part, m, v in parts], 1)
        elif note.stretch is None:
            now = adjust(x, self.copies, mean, var)
        else:
            now = self._replayed(note.stretch, mean, var)
        x = self._write(x, now)
        self.notes.change(x, blame=note.blame, stretch=None, parts=(), calibrated=True)
        return x

    def _replayed(self, stretch: Stretch, mean: Tensor, var: Tensor) -> Tensor:
        """What the stretch makes of its root, changed so that the masked copies have ``mean`` and ``var`` behind it."""
        if stretch.masks:
            var = undo_masks(mean, var, stretch.gain)
        if stretch.steps:
            before = solve(stretch.without_masks, self.copies, mean, var)
        else:
            before = self._write(stretch.root, adjust(stretch.root, self.copies, mean, var))
        return stretch.masked(before)

    def _write(self, x: Tensor, values: Tensor) -> Tensor:
        """``x`` with new values, in place where possible: it may feed a residual stream too."""
        shared = any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
        if shared or x.untyped_storage().data_ptr() in self.stored:
            return values
        return x.copy_(values)


def _measured(clean: Tensor, var: Tensor, usable: Tensor, shares: Mapping[str, float]) -> Measured:
    """Δ per channel, and the layer's: the ratio of the channels' mean variances (Li et al. 2019, section 4)."""
    if not usable.any():
        return Measured(None, (None,) * len(var))
    if not shares:
        return Measured(1.0, tuple(1.0 if one else None for one in usable.tolist()))
    ratios = (clean / var.clamp_min(TINY)).clamp(1.0 / _LARGEST, _LARGEST)
    delta = float(clean[usable].double().mean() / var[usable].double().mean())
    channels = tuple(ratio if one else None for ratio, one in zip(ratios.tolist(), usable.tolist(), strict=True))
    return Measured(min(max(delta, 1.0 / _LARGEST), _LARGEST), channels, shares)
