"""What a data loader yields, as arguments for forward: labels left out, samples that hold no numbers left out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dropcheck.table import MeasurementError


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments for one forward; ``bad`` counts the samples left out because they held NaN or infinity."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    bad: int = 0

    @property
    def size(self) -> int:
        """Samples: the length of axis 0 of the first tensor; 1 without any."""
        return next((len(leaf) for leaf in self._leaves() if leaf.dim() > 0), 1)

    def to(self, device: torch.device) -> Arguments:
        return self._each(lambda leaf: leaf.detach().to(device, non_blocking=True))

    def copied(self) -> Arguments:
        """The same values in tensors of their own, for a forward that may write to them."""
        return self._each(torch.clone)

    def parts(self, count: int) -> list[Arguments]:
        """The same samples in so many batches, as equal as can be."""
        size = self.size
        cuts = [size * index // count for index in range(count + 1)]
        return [self._rows(slice(start, end), size) for start, end in pairwise(cuts)]

    def first(self, samples: int) -> Arguments:
        """The first samples, in main memory."""
        return self._rows(slice(0, samples), self.size).to(torch.device("cpu"))

    def numbers_only(self) -> Arguments:
        """Without the samples that hold NaN or infinity, as far as they lie in main memory.

        Looking at values on an accelerator would make every batch wait for it; there whole channels of a batch are
        left out later, where the values turn up.
        """
        size = self.size
        sound = torch.ones(size, dtype=torch.bool)
        for leaf in self._leaves():
            if leaf.device.type == "cpu" and leaf.is_floating_point() and leaf.dim() > 0 and len(leaf) == size:
                sound &= leaf.flatten(1).isfinite().all(1) if leaf.dim() > 1 else leaf.isfinite()
        bad = size - int(sound.sum())
        return replace(self._rows(sound, size), bad=bad) if bad else self

    def shown(self) -> str:
        """``8x3x32x32 float32, 8 int64``"""
        shown = (f"{'x'.join(map(str, leaf.shape)) or 'scalar'} {str(leaf.dtype)[6:]}" for leaf in self._leaves())
        return ", ".join(shown) or "no tensors"

    def _leaves(self) -> list[Tensor]:
        return [leaf for leaf in tree_leaves((self.args, dict(self.kwargs))) if isinstance(leaf, Tensor)]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Arguments:
        args, kwargs = tree_map(
            lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, (self.args, self.kwargs)
        )
        return Arguments(args, kwargs, self.bad)

    def _rows(self, rows: slice | Tensor, size: int) -> Arguments:
        def chosen(leaf: Tensor) -> Tensor:
            if leaf.dim() == 0 or len(leaf) != size:
                return leaf
            return leaf[rows.to(leaf.device) if isinstance(rows, Tensor) else rows]

        return self._each(chosen)


def readings(model: nn.Module, batch: Any) -> Iterator[Arguments]:
    """The ways to pass a batch to forward that its signature allows, the likeliest first.

    A tensor is the input. Of a tuple or list, forward gets as many as it requires; the rest are labels. Of a mapping
    it gets the entries that are named like its parameters. :class:`Arguments` are passed as they are.
    """
    if isinstance(batch, Arguments):
        yield batch
        return
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # scripted or compiled
        signature = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])
    for args, kwargs in _guesses(signature, _as_tensors(batch)):
        if _binds(signature, args, kwargs):
            yield Arguments(args, kwargs)


def _guesses(signature: inspect.Signature, batch: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    if isinstance(batch, Mapping):
        named = {key: value for key, value in batch.items() if key in signature.parameters}
        if named:
            yield (), named
        if _takes_any_name(signature):
            yield (), dict(batch)
        yield (batch,), {}
        if len(batch) > 0:
            yield (next(iter(batch.values())),), {}
    elif isinstance(batch, tuple | list):
        required = _required(signature)
        if len(batch) > 0 and isinstance(batch[0], tuple | list | Mapping):
            yield from _guesses(signature, batch[0])
        if 0 < required <= len(batch):
            yield tuple(batch[:required]), {}
        if len(batch) > 0:
            yield (batch[0],), {}
        yield tuple(batch), {}
        yield (batch,), {}
    else:
        yield (batch,), {}


def _required(signature: inspect.Signature) -> int:
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.default is one.empty and one.kind in wanted for one in signature.parameters.values())


def _takes_any_name(signature: inspect.Signature) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())


def _binds(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _as_tensors(batch: Any) -> Any:
    numpy: Any = sys.modules.get("numpy")  # without it there are no arrays
    if numpy is None:
        return batch
    return tree_map(lambda leaf: torch.from_numpy(leaf) if isinstance(leaf, numpy.ndarray) else leaf, batch)


def first_reading(model: nn.Module, batch: Any, run: Callable[[Arguments], object]) -> int:
    """Which of the :func:`readings` of a batch forward accepts: ``run`` is tried on each.

    Raises:
        MeasurementError: none; with what the first of them raised.
    """
    failed: list[tuple[Arguments, Exception]] = []
    for index, arguments in enumerate(readings(model, batch)):
        try:
            run(arguments)
        except MeasurementError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next reading may be right
            failed.append((arguments, error))
        else:
            return index
    if not failed:
        raise MeasurementError(
            f"a batch is {_kind(batch)}, which does not fit forward{_signature(model)}",
            "let the data yield a tensor, a tuple with the inputs first, or a dict with forward's names",
        )
    raise refused(model, *failed[0]) from failed[0][1]


def refused(model: nn.Module, arguments: Arguments, error: BaseException) -> MeasurementError:
    """What to say when forward raises on these arguments."""
    return MeasurementError(
        f"forward{_signature(model)} fails on a batch of {arguments.shown()}: {_told(error)}",
        "give data of the shape and dtype that the model was trained on",
    )


def _signature(model: nn.Module) -> str:
    try:
        return str(inspect.signature(model.forward)).partition(" -> ")[0]
    except (TypeError, ValueError):
        return ""


def _kind(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a {type(batch).__name__} of {', '.join(map(repr, batch)) or 'nothing'}"
    if isinstance(batch, tuple | list):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"


def _told(error: BaseException) -> str:
    """The first line of what an exception says, with its class."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
