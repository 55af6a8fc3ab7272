"""Measures the variance shift at every batch norm on real batches.

Source: Li et al. 2019, section 4, with the variance in training measured beside the stored one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from dropcheck.measure.attribution import Attribution
from dropcheck.measure.batches import Arguments
from dropcheck.measure.bench import Bench, Mode
from dropcheck.measure.distributed import Ranks
from dropcheck.measure.feeding import Feeder, Seen
from dropcheck.measure.moments import Collected
from dropcheck.measure.norms import left_out
from dropcheck.measure.rows import FEWEST, Readout, row
from dropcheck.table import MeasurementError, Progress, ShiftTable


class Probing:
    """One measurement: :meth:`steps` runs it batch by batch, :meth:`table` tells what is known so far.

    Every batch runs twice: as the model is evaluated (dropout off, running statistics in use: ``real_var``, the
    numerator of Δ) and as it is trained (dropout on, batch statistics in use, nothing updated: the denominator).
    So Δ = Var_test / Var_train is that of the network as it is, the shifts of the norms before included.

    Variances are unbiased and pooled over all batches. Training accumulates those within single batches, which are
    smaller by what batch means vary.

    Args:
        model: left as it was; where another device is wanted, a copy of it is run.
        device: None for the model's own, ``auto``, ``cpu``, ``cuda``, ``mps``.
        amp: whether forwards run under autocast.
        seed: of dropout masks, and of what the data draw while they are run over.
        attribute: whether to measure too what each dropout contributes: two more forwards per batch and dropout.
        data: how the table calls the data.
        ranks: the processes that measure together; None for those of torch.distributed, if it is initialised.

    Raises:
        MeasurementError: the model has no batch norm, or there is no such device.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        amp: bool = False,
        seed: int = 0,
        attribute: bool = False,
        data: str = "given data",
        ranks: Ranks | None = None,
    ) -> None:
        self.bench = Bench(model, device, amp, seed)
        self.ranks = Ranks.current() if ranks is None else ranks
        self.data, self.complete = data, False
        self.test, self.train = Collected(), Collected()
        self.attribution = Attribution(self.bench) if attribute else None
        self.feeder = Feeder(self.bench, self._measure, self.ranks)

    def steps(self, batches: Iterable[Any], limit: int | None = None) -> Iterator[Progress]:
        """Runs the batches, at most ``limit`` of them, one step each. The model is as it was when the iterator ends.

        On several processes each runs its share, and all wait for each other at the end.

        Raises:
            MeasurementError: the data or forward fail, nothing could be run, or another process failed.
        """
        failure: MeasurementError | None = None
        try:
            with self.bench.open():
                yield from self.feeder.steps(batches, limit)
            if self.ranks.world == 1:
                self.feeder.check()
        except MeasurementError as error:
            failure = error
        self.ranks.agree(None if failure is None else failure.message)
        if failure is not None:
            raise failure
        self.complete = True

    def table(self) -> ShiftTable:
        """What was measured so far. On several processes all have to call it, and all get the same."""
        tally = self.ranks.everyones(self.feeder.tally)
        whole = tally[0].merged(tally[1:])
        test = Readout(self.ranks.merged(self.test, self.bench.device))
        train = Readout(self.ranks.merged(self.train, self.bench.device))
        sources = {} if self.attribution is None else self.attribution.sources(self.ranks)
        rows = [row(norm, test, train, sources.get(norm.name, ())) for norm in self.bench.norms]
        reached = {name: index for index, name in enumerate(test.places)}
        if self.ranks.world > 1 and whole.samples == 0:
            self.feeder.check()
        return ShiftTable(
            norms=tuple(sorted(rows, key=lambda one: reached.get(one.name, len(reached)))),
            batches=whole.batches,
            samples=whole.samples,
            device=str(self.bench.device),
            data=self.data,
            seed=self.bench.seed,
            amp=self.bench.amp,
            complete=all(self.ranks.everyones(self.complete)),
            notes=(*whole.notes(), *self._notes(len(test.groups))),
            processes=self.ranks.world,
        )

    def _measure(self, arguments: Arguments, draw: int) -> list[Seen]:
        test = self.bench.forward(arguments, Mode.TEST, draw)
        train = self.bench.forward(arguments, Mode.TRAIN, draw)
        parts = [] if self.attribution is None else self.attribution.measure(arguments, draw, train)
        return [(self.test, test), (self.train, train), *parts]

    def _notes(self, groups: int) -> Iterator[str]:
        if 0 < groups < FEWEST:
            yield f"there are no standard errors: they take at least {FEWEST} batches"
        yield from left_out(self.bench.model)
        if self.attribution is not None:
            yield from self.attribution.notes()
