"""The text of ``--input``: ``2x3x32x32``, ``2x128:int64``, several separated by commas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from dropcheck.source.usage import UsageError

MOST_ELEMENTS = 2**30
"""Elements of one input: 4 GiB of float32. More is a slip of the hand rather than an example."""

_DTYPES = (
    *("float32", "float64", "float16", "bfloat16"),
    *("int64", "int32", "int16", "int8", "uint8"),
    *("bool", "complex64", "complex128"),
)
_ALIASES: Mapping[str, str] = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "int": "int32",
    "long": "int64",
}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One tensor for forward: its sizes, batch first as the model wants it, and torch's name of its dtype."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return sizes if self.dtype == "float32" else f"{sizes}:{self.dtype}"


def parse_input(text: str) -> tuple[InputSpec, ...]:
    """The tensors an input spec describes, in the order forward takes them.

    Raises:
        UsageError: it does not read as one; the message names the place.
    """
    specs = []
    start = 0
    for part in text.split(","):
        specs.append(_tensor(text, part, start))
        start += len(part) + 1
    return tuple(specs)


def _tensor(text: str, part: str, start: int) -> InputSpec:
    sizes, colon, dtype = part.partition(":")
    shape = []
    column = start
    for size in sizes.split("x"):
        shape.append(_size(text, size, column))
        column += len(size) + 1
    if prod(shape) > MOST_ELEMENTS:
        raise UsageError(f"input {text!r}: {sizes.strip()} at column {start + 1} has more than 2**30 elements")
    return InputSpec(tuple(shape), _dtype(text, dtype, column) if colon else "float32")


def _size(text: str, size: str, start: int) -> int:
    if not re.fullmatch(r"\s*0*[1-9][0-9]{0,9}\s*", size, re.ASCII):
        shown = repr(size.strip()) if size.strip() else "nothing"
        raise UsageError(
            f"input {text!r}: expected a positive size at column {_begin(size, start)}, got {shown}; "
            "write sizes as in 2x3x32x32 or 2x128:int64"
        )
    return int(size)


def _dtype(text: str, name: str, start: int) -> str:
    dtype = _ALIASES.get(name.strip(), name.strip())
    if dtype not in _DTYPES:
        raise UsageError(
            f"input {text!r}: unknown dtype {name.strip()!r} at column {_begin(name, start)}; "
            f"choose from {', '.join(_DTYPES)}"
        )
    return dtype


def _begin(part: str, start: int) -> int:
    return start + len(part) - len(part.lstrip()) + 1
