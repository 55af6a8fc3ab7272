"""What ``--data`` names → batches: arrays in a file, or what a callable of the user's gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import chain
from threading import Event
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dropcheck.capture import ExampleInput
from dropcheck.job import Feed, Job
from dropcheck.load.arrays import holds_tensors_alone, kind_of, read_arrays, tensors_by_name
from dropcheck.load.failure import LoadError, foreign
from dropcheck.load.importing import import_job
from dropcheck.nearest import suggest
from dropcheck.result import ErrorKind
from dropcheck.simulate.synthetic import Maker
from dropcheck.source.target import parse_arguments

BATCH_SIZE = 64

_GIVE = "let it return a DataLoader or another iterable of batches, a Dataset, or tensors"
_MOST_NAMES = 8


class Cut:
    """Tensors cut into batches along axis 0, their samples in random order, always the same for one seed.

    Files are often sorted by class, and a batch of one class has not the variance of a training batch. Samples left
    over at the end are dropped, as training drops them, unless there would be no batch at all.

    ``dtype``: what real numbers become; numpy's are float64 where nobody says otherwise. ``named``: whether batches are
    mappings, not tuples.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        batch_size: int | None = None,
        seed: int = 0,
        *,
        dtype: torch.dtype = torch.float32,
        named: bool = False,
    ) -> None:
        self.tensors, self.dtype, self.named, self.seed = tensors, dtype, named, seed
        samples = len(next(iter(tensors.values())))
        self.size = min(batch_size or BATCH_SIZE, samples)
        self.order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.order) // self.size

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self) * self.size, self.size):
            yield self._batch(self.order[start : start + self.size])

    def suited(self, model: nn.Module) -> Cut:
        """The same with real numbers like the model's, passed by name if a name is one of forward's parameters."""
        weights = (one.dtype for one in model.parameters() if one.is_floating_point())
        try:
            names = set(inspect.signature(model.forward).parameters)
        except (TypeError, ValueError):  # scripted
            names = set()
        named = not names.isdisjoint(self.tensors)
        return Cut(self.tensors, self.size, self.seed, dtype=next(weights, torch.float32), named=named)

    def _batch(self, rows: Tensor) -> Any:
        chosen = {name: self._typed(tensor[rows]) for name, tensor in self.tensors.items()}
        return chosen if self.named else tuple(chosen.values())

    def _typed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


class Synthetic:
    """Batches of smooth noise like an example input, without end; batch number i is the same in every run."""

    def __init__(self, example: ExampleInput, batch_size: int | None = None, seed: int = 0) -> None:
        self.maker, self.size, self.seed = Maker(example), batch_size or BATCH_SIZE, seed
        main = self.maker.main
        self.shape = () if main is None else tuple(self.maker.leaves[main].shape[1:])

    def __iter__(self) -> Iterator[Any]:
        number = 0
        while True:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(hash((self.seed, number)) % 2**63)
                args, kwargs = self.maker.batch(self.size, self.shape).arguments()
            yield kwargs if kwargs and not args else args
            number += 1


def open_feed(feed: Feed, batch_size: int | None, seed: int) -> Iterable[Any]:
    """Batches: each is a tensor, a tuple with the inputs first, or a mapping by forward's names.

    A file of arrays (:func:`read_arrays`), a dataset or tensors are cut into batches; a callable of the user's may give
    batches of its own. Foreign code runs.

    Raises:
        LoadError: the file or the callable cannot be used, or gives something else.
    """
    if feed.file is not None:
        return Cut(read_arrays(feed.file), batch_size, seed)
    name = name_of(feed)
    return _told_apart(name, _called(feed, name), batch_size, seed)


def name_of(feed: Feed) -> str:
    """How reports call the data."""
    call = "" if feed.call is None else f"({feed.call})"
    return feed.label if feed.symbol is None else f"{feed.label}:{feed.symbol}{call}"


def _called(feed: Feed, name: str) -> Any:
    assert feed.symbol is not None
    module: Any = import_job(Job(feed.label, feed.path, feed.module))
    found = module
    for part in feed.symbol.split("."):
        if not hasattr(found, part):
            own = [key for key, one in vars(module).items() if getattr(one, "__module__", None) == module.__name__]
            choice = suggest(part, own[:_MOST_NAMES]) if own else _GIVE
            raise LoadError(ErrorKind.CONFIG, f"--data: {feed.label} has no {part!r}", choice)
        found = getattr(found, part)
    if feed.call is None and _gives_batches(found):
        return found
    with foreign(ErrorKind.MEASURE, f"--data: calling {name} failed", "call it in a plain Python session", feed.path):
        args, kwargs = parse_arguments(feed.call or "")
        return found(*args, **kwargs)


def _gives_batches(found: object) -> bool:
    """Whether a symbol is the data itself, not what makes them."""
    is_data = isinstance(found, DataLoader | Dataset | Tensor | list | tuple | Mapping)
    return is_data or (hasattr(found, "__iter__") and not isinstance(found, type))


def _told_apart(name: str, found: Any, batch_size: int | None, seed: int) -> Iterable[Any]:
    if isinstance(found, Tensor) or (not isinstance(found, list) and holds_tensors_alone(found)):
        return Cut(tensors_by_name(name, found), batch_size, seed)
    if isinstance(found, Dataset) and not isinstance(found, IterableDataset) and hasattr(found, "__len__"):
        return _of_dataset(name, found, batch_size, seed)
    if not hasattr(found, "__iter__") or isinstance(found, str | bytes):
        raise LoadError(ErrorKind.MEASURE, f"--data: {name} gives {kind_of(found)}, no batches", _GIVE)
    if batch_size is not None:
        message = f"--data: {name} gives batches of its own, so --batch-size cannot be obeyed"
        raise LoadError(ErrorKind.CONFIG, message, "leave it out, or let it return a Dataset or tensors")
    batches: Iterable[Any] = found
    return batches


def _of_dataset(name: str, found: Any, batch_size: int | None, seed: int) -> Iterable[Any]:
    if len(found) == 0:
        raise LoadError(ErrorKind.MEASURE, f"--data: {name} is empty", "give at least two samples")
    size = min(batch_size or BATCH_SIZE, len(found))
    order = torch.Generator().manual_seed(seed)
    return DataLoader(found, size, shuffle=True, drop_last=True, generator=order)


def with_first(name: str, batches: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """The first batch, None if there is none, and all of them: what can be run over only once is not used up.

    Raises:
        LoadError: they fail.
    """
    with foreign(ErrorKind.MEASURE, f"--data: {name} fails at its first batch", "run over it without dropcheck"):
        running = iter(batches)
        first = next(running, None)
    if first is not None and running is batches:
        return first, chain([first], running)
    return first, batches


def until(batches: Iterable[Any], stop: Event) -> Iterable[Any]:
    """The same batches, of which no more come once ``stop`` is set. What has a length, or a sampler, still has it."""
    if isinstance(batches, Iterator):
        return _ended(batches, stop)
    return (_SizedUntil if isinstance(batches, Sized) else _Until)(batches, stop)


def _ended(batches: Iterable[Any], stop: Event) -> Iterator[Any]:
    for batch in batches:
        yield batch
        if stop.is_set():
            return


class _Until:
    def __init__(self, batches: Any, stop: Event) -> None:
        self._batches, self._stop = batches, stop

    def __iter__(self) -> Iterator[Any]:
        return _ended(self._batches, self._stop)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


class _SizedUntil(_Until):
    def __len__(self) -> int:
        return len(self._batches)
