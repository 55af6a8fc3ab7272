"""One run on several processes: batches dealt out by rank, sums merged; the result is that of a single process.

The process group is the caller's: whoever has called ``torch.distributed.init_process_group`` measures together, and
every process has to take part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler

from dropcheck.measure.moments import Collected, Sums
from dropcheck.table import MeasurementError

TIMEOUT = timedelta(minutes=10)
"""To give to ``init_process_group``: how long processes wait for the slowest."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that measure together."""

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """As torch.distributed has it; alone where no process group is initialised."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def share(self, batches: Iterable[T], limit: int | None = None) -> Iterator[tuple[int, T]]:
        """This process's batches with their numbers among all: every ``world``-th.

        A loader with a DistributedSampler holds only this process's own already. ``limit``: of all processes together.
        """
        if self.world > 1 and _is_sharded(batches):
            numbered = ((index * self.world + self.rank, batch) for index, batch in enumerate(batches))
            for index, batch in numbered:
                if limit is not None and index >= limit:
                    return
                yield index, batch
            return
        for index, batch in enumerate(islice(batches, limit)):
            if index % self.world == self.rank:
                yield index, batch

    def total(self, batches: object, limit: int | None) -> int | None:
        """How many batches all processes together are to run; None where that is not known."""
        if not isinstance(batches, Sized):
            return limit
        known = len(batches) * (self.world if self.world > 1 and _is_sharded(batches) else 1)
        return known if limit is None else min(known, limit)

    def everyones(self, value: T) -> list[T]:
        """What each process has, by rank. All have to call it.

        Raises:
            MeasurementError: a process is gone.
        """
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        with _together():
            dist.all_gather_object(values, value)
        return values

    def agree(self, failure: str | None) -> None:
        """Meets the other processes. All have to call it, with what went wrong if something did.

        Raises:
            MeasurementError: a process failed, or is gone.
        """
        failures = self.everyones(failure)
        told = [f"process {rank} of {self.world} failed: {text}" for rank, text in enumerate(failures) if text]
        if told and failure is None:
            raise MeasurementError(told[0], "nothing is reported of the others either; put that right and run again")

    def merged(self, collected: Collected, device: torch.device) -> Collected:
        """The sums of all processes. All have to call it."""
        if self.world == 1:
            return collected
        widths: dict[Any, int] = {}
        for theirs in self.everyones(collected.widths()):
            for place, channels in theirs.items():
                widths.setdefault(place, channels)
        whole = Collected()
        whole.extend(widths, torch.device("cpu"))
        if whole.sums is None:
            return whole
        device = device if dist.get_backend() == "nccl" else torch.device("cpu")
        own = collected.arranged(whole.layout).to(device)
        parts = [torch.empty_like(own) for _ in range(self.world)]
        with _together():
            dist.all_gather(parts, own)
        merged = Sums(parts[0])
        for part in parts[1:]:
            merged = merged.merged(Sums(part))
        whole.sums = Sums(merged.values.cpu())
        return whole


def _is_sharded(batches: object) -> bool:
    samplers = (getattr(batches, "sampler", None), getattr(getattr(batches, "batch_sampler", None), "sampler", None))
    return any(isinstance(sampler, DistributedSampler) for sampler in samplers)


@contextmanager
def _together() -> Iterator[None]:
    """For a collective: what it raises when a process is gone, as an error of ours."""
    try:
        yield
    except RuntimeError as error:
        line = str(error).strip().partition("\n")[0]
        raise MeasurementError(
            f"a process that was measuring too is gone: {line}",
            "its own output says why; nothing was written, run again with all processes",
        ) from error
