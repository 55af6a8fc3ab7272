"""Finding the tensors in whatever a forward is given or returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a nest of containers, dataclasses and mappings, each container once."""
    seen: set[int] = set()

    def walk(item: Any) -> Iterator[torch.Tensor]:
        if isinstance(item, torch.Tensor):
            yield item
            return
        parts = _parts(item)
        if parts is None or id(item) in seen:
            return
        seen.add(id(item))
        for part in parts:
            yield from walk(part)

    return walk(value)


def _parts(item: Any) -> list[Any] | None:
    if isinstance(item, (tuple, list, set)):
        return list(item)
    if isinstance(item, Mapping):
        return list(item.values())
    if is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, part.name, None) for part in fields(item)]
    if isinstance(item, slice):
        return [item.start, item.stop, item.step]
    return None
