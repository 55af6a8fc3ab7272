"""Mean and variance of every channel in one pass: numerically stable, mergeable, in a memory that does not grow.

Source of the merging: Chan, Golub and LeVeque 1983, "Algorithms for Computing the Sample Variance", Eq. 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

GROUPS = 16
"""Batches are dealt to that many groups, whose differences tell the standard errors."""

_SOME = 4  # samples that tell about where the mean is


class Place(NamedTuple):
    """Where a norm meets values: its module path, and which of its calls in one forward it is."""

    norm: str
    call: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What is known of some values, channel by channel: ``values`` is ``(4, …, channels)``, its rows the properties."""

    values: Tensor

    @property
    def count(self) -> Tensor:
        """How many values there are."""
        return self.values[0]

    @property
    def mean(self) -> Tensor:
        return self.values[1]

    @property
    def squares(self) -> Tensor:
        """The sum of squared distances from the mean."""
        return self.values[2]

    @property
    def lost(self) -> Tensor:
        """Batches that held values which are no numbers, and are not counted."""
        return self.values[3]

    def merged(self, other: Sums) -> Sums:
        """What is known of both sets of values together."""
        count = self.count + other.count
        share = other.count / count.clamp_min(1.0)
        apart = other.mean - self.mean
        squares = self.squares + other.squares + apart.square() * self.count * share
        return Sums(torch.stack([count, self.mean + apart * share, squares, self.lost + other.lost]))


def nothing(shape: tuple[int, ...], device: torch.device) -> Sums:
    """No values at all."""
    return Sums(torch.zeros((4, *shape), dtype=torch.float64, device=device))


def sums_of(x: Tensor) -> Sums:
    """Of ``(samples, channels, places …)``, in float64 (in float32 where the device has no float64).

    Nothing here waits for the device: a channel with a value that is no number is masked, not looked at.
    """
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    values = x.detach().flatten(2) if x.dim() > 2 else x.detach().unsqueeze(2)
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    if values.shape[2] == 1:
        values = values.to(wide)
    count = float(values.shape[0] * values.shape[2])
    # Sums over a sample's places in its own precision, pairwise, then in float64; of what is left without about the
    # mean, so that nothing cancels. Several times faster than widening every value.
    some = values[:: max(1, len(values) // _SOME)]
    centre = some.mean(2).mean(0).nan_to_num(0.0, 0.0, 0.0)
    left = values - centre[:, None]
    rest = left.sum(2).to(wide).sum(0) / max(count, 1.0)
    squares = left.square_().sum(2).to(wide).sum(0) - count * rest.square()
    mean = centre.to(wide) + rest
    sound = mean.isfinite() & squares.isfinite()
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    known = torch.stack([count * one, mean, squares.clamp_min(0.0), zero])
    return Sums(torch.where(sound, known, torch.stack([zero, zero, zero, one])))


class Collected:
    """The sums at every place over all batches, in :data:`GROUPS` groups; all channels lie in one vector.

    Places may turn up late, or in some batches only.

    Attributes:
        layout: the channels of each place.
        sums: ``(groups, channels)``; None until something was added.
    """

    def __init__(self) -> None:
        self.layout: dict[Place, slice] = {}
        self.sums: Sums | None = None

    def add(self, seen: Mapping[Place, Sums], batch: int) -> None:
        """One forward's, of the batch of that number."""
        if not seen:
            return
        device = next(iter(seen.values())).values.device  # a model may be spread over several
        new = torch.cat([one.values.to(device) for one in seen.values()], dim=1)
        if new.device.type == "mps":
            new = new.cpu().double()
        if list(seen) != list(self.layout):
            new = self._laid_out({place: one.values.shape[1] for place, one in seen.items()}, new)
        if self.sums is None:
            self.sums = nothing((GROUPS, new.shape[1]), new.device)
        group = self.sums.values[:, batch % GROUPS]
        group.copy_(Sums(group).merged(Sums(new)).values)

    def extend(self, widths: Mapping[Place, int], device: torch.device) -> None:
        """Makes room for places not seen so far, of so many channels each."""
        for place, channels in widths.items():
            if place not in self.layout:
                start = sum(self.widths().values())
                self.layout[place] = slice(start, start + channels)
                room = nothing((GROUPS, channels), device).values
                self.sums = Sums(room if self.sums is None else torch.cat([self.sums.values, room], dim=2))

    def widths(self) -> dict[Place, int]:
        """The number of channels at every place."""
        return {place: channels.stop - channels.start for place, channels in self.layout.items()}

    def at(self, place: Place) -> Sums:
        """``(groups, channels)`` of one place."""
        assert self.sums is not None
        return Sums(self.sums.values[:, :, self.layout[place]])

    def arranged(self, layout: Mapping[Place, slice]) -> Tensor:
        """The sums on the CPU ``(4, groups, channels)`` in another layout that has all places of this one."""
        whole = nothing((GROUPS, max((channels.stop for channels in layout.values()), default=0)), torch.device("cpu"))
        for place in self.layout:
            whole.values[:, :, layout[place]] = self.at(place).values.cpu()
        return whole.values

    def _laid_out(self, widths: Mapping[Place, int], new: Tensor) -> Tensor:
        """``new``, whose channels are in the order of ``widths``, in the order of the layout."""
        self.extend(widths, new.device)
        whole = nothing((sum(self.widths().values()),), new.device).values
        parts = torch.split(new, list(widths.values()), dim=1)
        for place, part in zip(widths, parts, strict=True):
            whole[:, self.layout[place]] = part
        return whole


def total(sums: Sums, without: int | None = None) -> Sums:
    """The groups ``(groups, channels)`` together, but perhaps one."""
    whole: Sums | None = None
    for index in range(sums.values.shape[1]):
        if index != without:
            group = Sums(sums.values[:, index])
            whole = group if whole is None else whole.merged(group)
    assert whole is not None
    return whole
