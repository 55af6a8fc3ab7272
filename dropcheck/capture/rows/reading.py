"""What rows read off a call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dropcheck.capture.calls import Call, Value
from dropcheck.ops import Op

Row = Callable[[Call], Op | None]

DIMS = ("1d", "2d", "3d")


def each(names: Iterable[str], row: Row) -> dict[str, Row]:
    """One row under several names."""
    return dict.fromkeys(names, row)


def named(names: str, kind: Callable[[str], Op]) -> dict[str, Row]:
    """Rows of kinds that only carry the name by which the operation goes."""

    def row(call: Call) -> Op:
        return kind(call.target)

    return each(names.split(), row)


def product(numbers: Sequence[int]) -> int:
    return math.prod(int(number) for number in numbers)


def as_rate(number: Any) -> float:
    """A drop rate as written: None and False mean no dropout."""
    return float(number) if number is not None else 0.0


def tensor(call: Call, position: int, name: str) -> Value | None:
    """The tensor at an argument position, if there is one."""
    value = call.argument(position, name)
    return value if isinstance(value, Value) else None


def input_shape(call: Call) -> tuple[int, ...] | None:
    first = next(call.tensors(), None)
    return None if first is None else first.shape


def spatial(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes behind batch and channels."""
    return () if shape is None else shape[2:]
