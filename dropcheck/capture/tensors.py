"""Finding the tensors in whatever a forward is given or returns."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

ATOMS = frozenset({bool, int, float, str, type(None), torch.dtype, torch.device, torch.Size})
"""Types of most arguments that are no tensors: a run asks thousands of times."""


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a nest of containers, dataclasses and mappings, each container once."""
    found: list[torch.Tensor] = []
    _collect(value, found, set())
    return iter(found)


def _collect(item: Any, found: list[torch.Tensor], seen: set[int]) -> None:
    if isinstance(item, torch.Tensor):
        found.append(item)
        return
    parts = None if type(item) in ATOMS or id(item) in seen else _parts(item)
    if parts is None:
        return
    seen.add(id(item))
    for part in parts:
        _collect(part, found, seen)


_LOOKED_AT = 10_000
_NO_HOLDERS = (nn.Module, type, FunctionType, MethodType, ModuleType, torch.fx.Proxy)


def tensors_held(value: Any) -> Iterator[torch.Tensor]:
    """As ``tensors_in``, and those that objects keep in their attributes: a graph's features, a batch's fields.

    Ends after LOOKED_AT objects: one may hold a data set.
    """
    waiting, seen = [value], {id(value): value}
    while waiting and len(seen) < _LOOKED_AT:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            yield item
            continue
        parts = _parts(item)
        if parts is None and not isinstance(item, _NO_HOLDERS):
            parts = list(getattr(item, "__dict__", {}).values())
        for part in reversed(parts or ()):
            if id(part) not in seen:
                seen[id(part)] = part
                waiting.append(part)


def _parts(item: Any) -> list[Any] | None:
    if isinstance(item, (tuple, list, set)):
        return [*iter(item)]  # list() would ask for a length, which not everything derived from a tuple has
    if isinstance(item, Mapping):
        return list(item.values())
    if is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, part.name, None) for part in fields(item)]
    if isinstance(item, slice):
        return [item.start, item.stop, item.step]
    return None


def is_stored(tensor: torch.Tensor) -> bool:
    """Whether a global variable or a closure holds the tensor: it was there before the forward ran."""
    holders = gc.get_referrers(tensor)
    return any(isinstance(one, CellType) or (isinstance(one, dict) and "__builtins__" in one) for one in holders)


def shape_of(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """Lazy parameters have none yet."""
    return None if nn.parameter.is_lazy(tensor) else tuple(tensor.shape)
