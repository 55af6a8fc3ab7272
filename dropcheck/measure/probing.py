"""Measures the variance shift at every batch norm on real batches.

Source: Li et al. 2019, section 4, with the variance in training measured beside the stored one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dropcheck.measure.attribution import Attribution
from dropcheck.measure.batches import Arguments
from dropcheck.measure.bench import Mode
from dropcheck.measure.distributed import Ranks
from dropcheck.measure.feeding import Seen
from dropcheck.measure.moments import Collected
from dropcheck.measure.norms import using
from dropcheck.measure.rows import FEWEST, Readout, row, statistics_of
from dropcheck.measure.run import Run
from dropcheck.table import Progress, ShiftTable


class Probing(Run):
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
        fresh: whether evaluation uses the statistics that the very batch would leave in training, not the stored ones:
            that shows what dropout does, whatever is stored and however unlike the training data the batch is.
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
        fresh: bool = False,
        data: str = "given data",
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__(model, device=device, amp=amp, seed=seed, data=data, ranks=ranks)
        self.fresh = fresh
        self.test, self.train = Collected(), Collected()
        self.attribution = Attribution(self.bench) if attribute else None

    def steps(self, batches: Iterable[Any], limit: int | None = None) -> Generator[Progress, None, None]:
        """Runs the batches, at most ``limit`` of them, one step each. The model is as it was when the iterator ends.

        On several processes each runs its share, and all wait for each other at the end.

        Raises:
            MeasurementError: the data or forward fail, nothing could be run, or another process failed.
        """
        yield from self.together(self._run(batches, limit))
        self.complete = True

    def table(self) -> ShiftTable:
        """What was measured so far. On several processes all have to call it, and all get the same."""
        test = Readout(self.ranks.merged(self.test, self.bench.device))
        train = Readout(self.ranks.merged(self.train, self.bench.device))
        sources = {} if self.attribution is None else self.attribution.sources(self.ranks)
        rows = [row(norm, test, train, sources.get(norm.name, ())) for norm in self.bench.norms]
        table = self.summed_up(rows, test)
        return replace(table, notes=(*table.notes, *self._notes(len(test.groups))))

    def _run(self, batches: Iterable[Any], limit: int | None) -> Iterator[Progress]:
        with self.bench.open():
            yield from self.feeder.steps(batches, limit)

    def _measure(self, arguments: Arguments, draw: int) -> list[Seen]:
        train = self.bench.forward(arguments, Mode.TRAIN, draw)
        with using(statistics_of(self.bench.norms, train) if self.fresh else {}):
            test = self.bench.forward(arguments, Mode.TEST, draw)
        parts = [] if self.attribution is None else self.attribution.measure(arguments, draw, train)
        return [(self.test, test), (self.train, train), *parts]

    def _notes(self, groups: int) -> Iterator[str]:
        if 0 < groups < FEWEST:
            yield f"there are no standard errors: they take at least {FEWEST} batches"
        if self.attribution is not None:
            yield from self.attribution.notes()
