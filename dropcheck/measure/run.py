"""What measuring and recalibrating have in common: batches fed to a bench on one process or several, and a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from dropcheck.measure.batches import Arguments
from dropcheck.measure.bench import Bench
from dropcheck.measure.distributed import Ranks
from dropcheck.measure.feeding import Feeder, Seen, Tally
from dropcheck.measure.norms import left_out
from dropcheck.measure.rows import Readout
from dropcheck.table import MeasuredNorm, MeasurementError, Progress, ShiftTable


class Run(ABC):
    """One run over the data."""

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None,
        amp: bool,
        seed: int,
        data: str,
        ranks: Ranks | None,
    ) -> None:
        self.bench = Bench(model, device, amp, seed)
        self.ranks = Ranks.current() if ranks is None else ranks
        self.data, self.complete = data, False
        self.feeder = Feeder(self.bench, self._measure, self.ranks)

    @abstractmethod
    def steps(self, batches: Iterable[Any], limit: int | None = None) -> Generator[Progress, None, None]:
        """Runs the batches, one step each."""

    @abstractmethod
    def table(self) -> ShiftTable:
        """What is known so far."""

    @abstractmethod
    def _measure(self, arguments: Arguments, draw: int) -> list[Seen]:
        """The forwards for one batch."""

    def together(self, steps: Iterator[Progress]) -> Iterator[Progress]:
        """The steps of this process; at their end the processes wait for each other, and fail together.

        Raises:
            MeasurementError: of this process or of another.
        """
        failure: MeasurementError | None = None
        try:
            yield from steps
        except MeasurementError as error:
            failure = error
        self.ranks.agree(None if failure is None else failure.message)
        if failure is not None:
            raise failure
        self._everyones_tally().check()

    def _everyones_tally(self) -> Tally:
        return Tally.merged(self.ranks.everyones(self.feeder.tally))

    def summed_up(self, rows: Iterable[MeasuredNorm], test: Readout) -> ShiftTable:
        """The table of these rows, in the order in which a forward reaches them. All processes have to call it."""
        tally = self._everyones_tally()
        reached = {name: index for index, name in enumerate(test.places)}
        return ShiftTable(
            norms=tuple(sorted(rows, key=lambda one: reached.get(one.name, len(reached)))),
            batches=tally.batches,
            samples=tally.samples,
            device=str(self.bench.device),
            data=self.data,
            seed=self.bench.seed,
            amp=self.bench.amp,
            complete=all(self.ranks.everyones(self.complete)),
            notes=(*tally.notes(), *left_out(self.bench.model)),
            processes=self.ranks.world,
        )
