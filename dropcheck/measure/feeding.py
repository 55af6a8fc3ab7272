"""Feeds batches to a bench: readings, samples without numbers, batches that do not fit into memory, single samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import torch

from dropcheck.measure.batches import Arguments, first_reading, readings, refused
from dropcheck.measure.bench import Bench
from dropcheck.measure.distributed import Ranks
from dropcheck.measure.moments import Collected, Place, Sums
from dropcheck.table import MeasurementError, Progress

Seen = tuple[Collected, Mapping[Place, Sums]]
Work = Callable[[Arguments, int], list[Seen]]
"""What is done with a batch, given its random numbers: sums, and where to add them once all has gone well."""

_PIECES = 1024  # of one batch, at most: each draws its own random numbers
_EXAMPLE = 2
_ALONE = "Expected more than 1 value per channel"
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")


@dataclass(slots=True)
class Tally:
    """What was run, and what was not.

    Attributes:
        batches, samples: run.
        bad: samples left out for NaN or infinity.
        alone: batches left out because a norm cannot take the variance of a single value.
        largest: samples that fit into memory at once, 0 where no limit was met.
        first: samples in the largest batch given.
    """

    batches: int = 0
    samples: int = 0
    bad: int = 0
    alone: int = 0
    largest: int = 0
    first: int = 0

    @staticmethod
    def merged(every: Sequence[Tally]) -> Tally:
        """Of all processes; limits are the tightest met by any."""
        whole = Tally(*(sum(getattr(one, field.name) for one in every) for field in fields(Tally)))
        whole.largest = min((one.largest for one in every if one.largest), default=0)
        whole.first = max(one.first for one in every)
        return whole

    def notes(self) -> Iterator[str]:
        """What was left out or done otherwise than asked, in sentences."""
        if self.bad:
            yield f"{_some(self.bad, 'sample')} held NaN or infinity and {_were(self.bad)} left out"
        if self.alone:
            yield f"{_some(self.alone, 'batch')} of a single sample {_were(self.alone)} left out: it has no variance"
        if self.largest:
            yield f"batches of {self.first} did not fit into memory and were run as batches of at most {self.largest}"

    def check(self) -> None:
        """Raises MeasurementError unless something could be run."""
        if self.samples:
            return
        if self.alone:
            raise MeasurementError(
                "every batch holds a single sample, of which a norm in training cannot take a variance",
                "use batches of at least 2 samples, better 32",
            )
        if self.bad:
            raise MeasurementError(f"all {self.bad} samples hold NaN or infinity", "look at how the data are made")
        raise MeasurementError("the data hold no batches", "give at least one; an iterator can be run over only once")


class Feeder:
    """Runs ``work`` on the batches of this process; ``example`` is then one that forward accepted, of few samples."""

    def __init__(self, bench: Bench, work: Work, ranks: Ranks) -> None:
        self.bench, self.work, self.ranks = bench, work, ranks
        self.tally = Tally()
        self.reading: int | None = None
        self.example: Arguments | None = None

    def steps(self, batches: Iterable[Any], limit: int | None) -> Iterator[Progress]:
        """Runs every batch, and tells how far it is after each. The bench must be open.

        Raises:
            MeasurementError: the data fail, forward fails on them, or nothing in them could be run.
        """
        total = self.ranks.total(batches, limit)
        for index, batch in self._shared(batches, limit):
            self._batch(index, batch)
            done = index + self.ranks.world
            yield Progress(done if total is None else min(done, total), total, self.tally.samples)

    def _shared(self, batches: Iterable[Any], limit: int | None) -> Iterator[tuple[int, Any]]:
        mine, index = iter(self.ranks.share(batches, limit)), -1
        while True:
            try:
                index, batch = next(mine)
            except StopIteration:
                return
            except Exception as error:
                told = f"{type(error).__name__}: {error}".partition("\n")[0]
                where = f"after batch {index}" if index >= 0 else "at their start"
                raise MeasurementError(f"the data fail {where}: {told}", "run over them without dropcheck") from error
            yield index, batch

    def _batch(self, index: int, batch: Any) -> None:
        if self.reading is None:
            reading = first_reading(self.bench.model, batch, lambda one: self._pieces(index, one))
            self.reading = reading if self.tally.samples else None
            return
        arguments = next(islice(readings(self.bench.model, batch), self.reading, None), None)
        if arguments is None:
            raise MeasurementError(f"batch {index} is built otherwise than those before", "give batches of one kind")
        try:
            self._pieces(index, arguments)
        except MeasurementError:
            raise
        except Exception as error:
            raise refused(self.bench.model, arguments, error) from error

    def _pieces(self, index: int, given: Arguments) -> None:
        """The whole batch at once, or what fits of it."""
        arguments = given.numbers_only()
        pending, run = deque([arguments.to(self.bench.device)]), 0
        while pending:
            piece = pending.popleft()
            most = self.tally.largest or piece.size
            if piece.size <= most and self._fits(piece, index, run):
                run += 1
                continue
            if piece.size < 2:
                raise MeasurementError("not even a single sample fits into memory", "use smaller inputs, or the CPU")
            if piece.size <= most:
                self.tally.largest = most = -(-piece.size // 2)
            pending.extendleft(reversed(piece.parts(-(-piece.size // most))))
        self.tally.bad += arguments.bad
        self.tally.batches += 1
        self.tally.first = max(self.tally.first, given.size)

    def _fits(self, piece: Arguments, index: int, number: int) -> bool:
        """Runs the work; False where memory was too small for it, and then nothing is added."""
        if piece.size == 0:
            return True
        try:
            seen = self.work(piece, index * _PIECES + number)
        except Exception as error:
            if is_lack_of_memory(error):
                seen = None
            elif isinstance(error, ValueError) and _ALONE in str(error) and piece.size == 1:
                self.tally.alone += 1
                return True
            else:
                raise
        if seen is None:
            if self.bench.device.type == "cuda":
                torch.cuda.empty_cache()
            return False
        for collected, sums in seen:
            collected.add(sums, index)
        self.example = self.example or piece.first(_EXAMPLE)
        self.tally.samples += piece.size
        return True


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether a device, or main memory, was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _NO_MEMORY)


def _some(count: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
