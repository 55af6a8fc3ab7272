"""From sums to the rows of a table: layer values, shifts and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from dropcheck.measure.moments import Collected, Place, Sums, total
from dropcheck.measure.norms import Norm
from dropcheck.table import MeasuredNorm, MeasuredSource, Moments, quotient

FEWEST = 4
"""Groups of batches that a standard error takes at least."""


@dataclass(frozen=True, slots=True)
class Level:
    """What a norm's input is like in one mode, each ``(channels,)`` in float64 on the CPU.

    Of a norm called several times in a forward, ``var`` is the mean of its calls' variances: each call normalises,
    and updates the running variance, on its own.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    lost: Tensor


class Readout:
    """What the sums of one mode say of every norm."""

    def __init__(self, collected: Collected) -> None:
        self.layout = dict(collected.layout)
        self.places: dict[str, list[Place]] = {}
        for place in self.layout:
            self.places.setdefault(place.norm, []).append(place)
        self.wholes: list[Sums] = []
        self.groups: tuple[int, ...] = ()
        if collected.sums is not None:
            sums = Sums(collected.sums.values.cpu())
            self.groups = tuple(index for index, some in enumerate(sums.count.sum(1).tolist()) if some > 0.0)
            without = (None, *(self.groups if len(self.groups) >= FEWEST else ()))
            self.wholes = [total(sums, one) for one in without]

    def level(self, norm: str) -> Level | None:
        """With all batches; None where no forward reached the norm."""
        return self._level(self.wholes[0], norm) if norm in self.places else None

    def levels_without(self, norm: str) -> Iterator[Level]:
        """With all batches but one group's, for each group; nothing where there are too few."""
        return (self._level(whole, norm) for whole in self.wholes[1:])

    def _level(self, whole: Sums, norm: str) -> Level:
        return pooled([Sums(whole.values[:, self.layout[place]]) for place in self.places[norm]])


def pooled(calls: Sequence[Sums]) -> Level:
    """A norm's, from the sums of its calls ``(channels,)``."""
    count = torch.stack([one.count for one in calls])
    freedom = (count - 1.0).clamp_min(0.0).sum(0)
    squares = torch.stack([one.squares for one in calls]).sum(0)
    means = torch.stack([one.mean for one in calls])
    return Level(
        mean=(means * count).sum(0) / count.sum(0).clamp_min(1.0),
        var=torch.where(freedom > 0.0, squares / freedom.clamp_min(1.0), torch.nan),
        count=count.sum(0),
        lost=torch.stack([one.lost for one in calls]).amax(0),
    )


def statistics_of(norms: Sequence[Norm], seen: Mapping[Place, Sums]) -> dict[_BatchNorm, tuple[Tensor, Tensor]]:
    """The running statistics that this forward alone would have left."""
    found = {}
    for norm in norms:
        calls = [sums for place, sums in seen.items() if place.norm == norm.name]
        if calls and norm.tracks and not norm.frozen:
            level = pooled(calls)
            found[norm.module] = (level.mean, level.var)
    return found


def row(norm: Norm, test: Readout, train: Readout | None, sources: Sequence[MeasuredSource] = ()) -> MeasuredNorm:
    """What was measured at one norm; ``train`` is None where training was not measured."""
    now = test.level(norm.name)
    then = None if train is None else train.level(norm.name)
    if now is None or (train is not None and then is None):
        return MeasuredNorm(norm.name, norm.kind, remark=_joined([*_kept(norm), "no forward reached it"]))
    usable = usable_channels(norm, now, then)
    return MeasuredNorm(
        name=norm.name,
        kind=norm.kind,
        stored=moments(norm, now, usable, norm.mean, norm.var),
        train_var=None if then is None else channel_mean(then.var, usable),
        delta_error=None if train is None else _error(norm.name, test, train, usable),
        train_mean_shift=None if then is None else _mean_shift(now, then.mean, then.var, usable),
        sources=tuple(sources),
        moving_var_per_channel=() if norm.var is None else _numbers(norm.var),
        real_var_per_channel=_numbers(now.var),
        train_var_per_channel=() if then is None else _numbers(then.var),
        samples=int(now.count.max()),
        remark=_joined([*_kept(norm), *_said(now, then, usable, len(test.places[norm.name]))]),
    )


def usable_channels(norm: Norm, *levels: Level | None) -> Tensor:
    """The channels ``(channels,)`` whose every statistic is a number."""
    known = [level.var for level in levels if level is not None]
    stored = [one for one in (norm.mean, norm.var) if one is not None]
    return torch.stack([one.isfinite() for one in (*known, *stored)]).all(0)


def moments(norm: Norm, now: Level, usable: Tensor, mean: Tensor | None, var: Tensor | None) -> Moments:
    """Evaluation beside the running statistics ``mean`` and ``var`` in use there."""
    if mean is None or var is None:
        return Moments(real_var=channel_mean(now.var, usable))
    shift = _mean_shift(now, mean, var + norm.module.eps, usable)
    return Moments(channel_mean(var, usable), channel_mean(now.var, usable), shift)


def _mean_shift(now: Level, mean: Tensor, var: Tensor, usable: Tensor) -> float | None:
    """Mean over channels of |difference of means| in units of sqrt ``var``."""
    return channel_mean((now.mean - mean).abs() / var.sqrt(), usable & (var > 0.0))


def _error(norm: str, test: Readout, train: Readout, usable: Tensor) -> float | None:
    """The standard error of Δ by leaving out one group of batches after the other (the jackknife)."""
    pairs = zip(test.levels_without(norm), train.levels_without(norm), strict=False)
    deltas = [quotient(channel_mean(now.var, usable), channel_mean(then.var, usable)) for now, then in pairs]
    known = [delta for delta in deltas if delta is not None]
    if len(known) < FEWEST or test.groups != train.groups:
        return None
    middle = math.fsum(known) / len(known)
    return math.sqrt((len(known) - 1) / len(known) * math.fsum((delta - middle) ** 2 for delta in known))


def channel_mean(values: Tensor, usable: Tensor) -> float | None:
    """Over the usable channels; None where there is none, or where it is no number."""
    mean = float(values[usable].mean()) if usable.any() else math.nan
    return mean if math.isfinite(mean) else None


def _numbers(values: Tensor) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in values.tolist())


def _kept(norm: Norm) -> Iterator[str]:
    if not norm.tracks:
        yield "keeps no running statistics, so no shift harms it"
    elif norm.untrained:
        yield "its running statistics are those of an untrained norm"
    if norm.frozen:
        yield "frozen: it uses its running statistics in training too"


def _said(now: Level, then: Level | None, usable: Tensor, calls: int) -> Iterator[str]:
    lost = int(max(level.lost.max() for level in (now, then) if level is not None))
    if lost:
        yield f"values that are no numbers in {lost} {'batch' if lost == 1 else 'batches'}, which are left out"
    if not usable.all():
        yield f"{int((~usable).sum())} of {len(usable)} channels have no finite statistics and are left out"
    if then is not None and usable.any() and not then.var[usable].any():
        yield "its input does not vary in training"
    if calls > 1:
        yield f"called {calls} times in a forward: variances are the means of its calls'"


def _joined(parts: Sequence[str]) -> str | None:
    return "; ".join(parts) or None
