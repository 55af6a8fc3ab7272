"""Synthetic input: Gaussian fields that are smooth like images, as small as the model accepts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from dropcheck.capture import ExampleInput
from dropcheck.simulate.failure import PredictionError

LARGEST = 32
"""Places along one axis: Δ hardly depends on the image's size, and time does."""

_MODES = {1: "linear", 2: "bicubic", 3: "trilinear"}


def texture(batch: int, shape: Sequence[int]) -> Tensor:
    """Gaussian fields ``(batch, *shape)`` whose detail halves in power with every octave; white without places.

    ``shape`` is (channels, places …). Our own; white noise gave errors five to ten times as large.
    """
    places = tuple(shape[1:])
    if len(places) not in _MODES:
        return torch.randn(batch, *shape)
    x, cells, weight = torch.zeros(batch, *shape), 2, 1.0
    while cells <= max(2, *places):
        grid = torch.randn(batch, shape[0], *(min(cells, n) for n in places))
        x += weight * F.interpolate(grid, size=places, mode=_MODES[len(places)], align_corners=False)
        cells, weight = 2 * cells, weight * math.sqrt(0.5)
    return x


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Arguments for forward; ``main`` is the position of the textured one among the leaves, None if there is none."""

    leaves: tuple[Any, ...]
    structure: TreeSpec
    main: int | None

    def with_main(self, main: Tensor) -> Synthetic:
        """The same with another main input."""
        assert self.main is not None
        return replace(self, leaves=(*self.leaves[: self.main], main, *self.leaves[self.main + 1 :]))

    def arguments(self, copies: int = 1) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, the batch ``copies`` times."""
        args, kwargs = tree_unflatten([_repeated(leaf, self.batch, copies) for leaf in self.leaves], self.structure)
        return args, kwargs

    @property
    def batch(self) -> int:
        return _batch(self.leaves)


def mixed(few: Synthetic, many: Synthetic) -> Synthetic:
    """``many`` with main inputs that are each blended of two of ``few``'s: mean and variance of every place stay."""
    if few.main is None or many.main is None:
        return many
    x = few.leaves[few.main]
    count = many.leaves[many.main].shape[0]
    one = torch.randint(len(x), (count,))
    other = (one + torch.randint(1, len(x), (count,))) % len(x)
    angle = torch.rand(count, *[1] * (x.dim() - 1)).to(x.dtype) * (math.pi / 2.0)
    mean = x.mean(0)
    return many.with_main(mean + (x[one] - mean) * angle.cos() + (x[other] - mean) * angle.sin())


class Maker:
    """Makes batches like an example."""

    def __init__(self, example: ExampleInput) -> None:
        self.leaves, self.structure = tree_flatten((tuple(example.args), dict(example.kwargs)))
        self.size = _batch(self.leaves)
        self.main = next((i for i, leaf in enumerate(self.leaves) if self._is_main(leaf)), None)

    def shapes(self) -> Iterator[tuple[int, ...]]:
        """Shapes of one sample of the main input to try, the smallest first."""
        if self.main is None:
            yield ()
            return
        full = tuple(self.leaves[self.main].shape[1:])
        small = (*full[:1], *(min(n, LARGEST) for n in full[1:]))
        yield from dict.fromkeys((small, full))

    def batch(self, batch: int, shape: tuple[int, ...], features_last: bool = False) -> Synthetic:
        """``batch`` samples: the main input is textured, token ids are drawn anew, the rest comes from the example.

        ``features_last``: channels are the last axis of ``shape`` (sequences of vectors), not the first.
        """
        leaves = [self._leaf(i, leaf, batch, shape, features_last) for i, leaf in enumerate(self.leaves)]
        return Synthetic(tuple(leaves), self.structure, self.main)

    def _leaf(self, position: int, leaf: Any, batch: int, shape: tuple[int, ...], features_last: bool) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if position == self.main:
            if features_last:
                return texture(batch, (shape[-1], *shape[:-1])).movedim(1, -1).contiguous().to(leaf.dtype)
            return (texture(batch, shape) if shape else torch.randn(batch)).to(leaf.dtype)
        if leaf.dim() == 0 or leaf.shape[0] != self.size:
            return leaf.clone()
        if leaf.dim() > 1 and leaf.dtype in (torch.int32, torch.int64) and leaf.numel() > 0:
            return torch.randint(int(leaf.min()), int(leaf.max()) + 1, (batch, *leaf.shape[1:])).to(leaf.dtype)
        return leaf[torch.arange(batch) % self.size]

    def _is_main(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() > 0 and leaf.shape[0] == self.size


def _batch(leaves: Sequence[Any]) -> int:
    first = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim() > 0), None)
    if first is None or first.shape[0] == 0:
        raise PredictionError("the example input holds no batch of tensors")
    return int(first.shape[0])


def _repeated(leaf: Any, batch: int, copies: int) -> Any:
    if not isinstance(leaf, Tensor) or leaf.dim() == 0 or leaf.shape[0] != batch:
        return leaf
    return leaf.repeat(copies, *[1] * (leaf.dim() - 1))
