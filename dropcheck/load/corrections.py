"""What a forward's complaint says about the input it wants instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from dropcheck.source import InputSpec

LARGEST = 4096
"""Sizes of one dimension that are tried."""

_SPREAD = 8
"""Rows and columns of a plane that nothing is known about."""

Shape = tuple[int, ...]
Rule = Callable[["re.Match[str]", Shape], Iterator[Shape]]


def corrected(message: str, specs: Sequence[InputSpec]) -> list[tuple[InputSpec, ...]]:
    """The inputs that suit a failure's message better than ``specs``, the likeliest first."""
    found: list[tuple[InputSpec, ...]] = []
    if len(specs) > 1 and len(set(specs)) == 1:  # what is wrong with one of them is wrong with all
        alike = (better for better in (*_shared(message, specs), *_better(message, specs[0])) if better != specs[0])
        found += [(better,) * len(specs) for better in alike if max(better.shape) <= LARGEST]
    for number, spec in enumerate(specs):
        for better in _better(message, spec):
            if better != spec and all(0 < size <= LARGEST for size in better.shape[1:]):
                found.append((*specs[:number], better, *specs[number + 1 :]))
    return list(dict.fromkeys([*found, *_joined(message, specs)]))


def _shared(message: str, specs: Sequence[InputSpec]) -> Iterator[InputSpec]:
    """Inputs that are joined to what a layer wants, each with its share of the features."""
    match = re.search(_FEATURES, message)
    if match is not None and int(match["want"]) % len(specs) == 0:
        yield replace(specs[0], shape=(specs[0].shape[0], int(match["want"]) // len(specs)))


def _joined(message: str, specs: Sequence[InputSpec]) -> Iterator[tuple[InputSpec, ...]]:
    """One of the inputs larger or smaller by what is missing where several things are joined; or all of one rank."""
    match = re.search(_FEATURES, message)
    for number, spec in enumerate(specs if match is not None else ()):
        size = spec.shape[-1] + int(match["want"]) - int(match["got"]) if match is not None else 0
        if spec.dtype != "int64" and len(spec.shape) == 2 and 0 < size <= LARGEST and size != spec.shape[-1]:
            yield (*specs[:number], replace(spec, shape=(spec.shape[0], size)), *specs[number + 1 :])
    if len(specs) > 1 and "same number of dimensions" in message:
        yield (specs[0],) * len(specs)


def _better(message: str, spec: InputSpec) -> Iterator[InputSpec]:
    if re.search(r"indices.*(Long|Int)|indices must be long|expected scalar type Long", message):
        yield InputSpec(spec.shape[:2], "int64")
        return
    if spec.dtype == "int64" and re.search(
        r"for 'Long'|must have the same dtype|but (got|found) .*Long|type Float", message
    ):
        yield InputSpec((*spec.shape, 16) if len(spec.shape) < 3 else spec.shape, "float32")
        yield InputSpec(spec.shape, "float32")
        return
    for pattern, rule in _RULES:
        if spec.dtype == "int64" and rule in (_features, _channels):
            continue  # what is looked up has no features
        match = re.search(pattern, message)
        if match is not None:
            yield from (replace(spec, shape=shape) for shape in rule(match, spec.shape))


def _features(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    """A layer got ``got`` features and wants ``want``: so many at the end, or planes as large as makes so many."""
    got, want = int(match["got"]), int(match["want"])
    yield from _resized(shape, got, want)
    if len(shape) > 2:
        yield from _scaled(shape, want / got)


def _resized(shape: Shape, got: int, want: int) -> Iterator[Shape]:
    for place in reversed(range(1, len(shape))):
        if shape[place] == got:
            yield (*shape[:place], want, *shape[place + 1 :])


def _scaled(shape: Shape, ratio: float) -> Iterator[Shape]:
    """Planes, volumes or sequences with ``ratio`` times as many places, rounded in several ways."""
    spatial = shape[2:]
    if not spatial or ratio <= 0:
        return
    factor = ratio ** (1 / len(spatial))
    yield (*shape[:2], *(max(1, round(size * factor)) for size in spatial))
    if len(spatial) > 1:  # or only some of the dimensions
        yield (*shape[:-1], max(1, round(shape[-1] * ratio)))
    if len(spatial) == 3:
        yield (*shape[:3], *(max(1, round(size * math.sqrt(ratio))) for size in spatial[1:]))
    for step in (4, 8, 2):
        yield (*shape[:2], *(max(step, round(size * factor / step) * step) for size in spatial))
    yield (*shape[:2], *(math.ceil(size * factor) + 4 for size in spatial))


def _channels(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    got, want = int(match["got"]), int(match["want"])
    if len(shape) > 1 and shape[1] == got:
        yield (shape[0], want, *shape[2:])
    yield from _resized(shape, got, want)


def _rank(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    """As many dimensions as are wanted; features become channels, and the other way round."""
    wanted = [int(text) for text in match.groups() if text]
    for rank in wanted:
        yield from _with_rank(abs(rank), shape)


def _with_rank(rank: int, shape: Shape) -> Iterator[Shape]:
    batch, *rest = shape
    if rank < 2 or rank > 5 or rank == len(shape) or not rest:
        return
    if rank < len(shape):
        yield (batch, *rest[: rank - 1])
        yield (batch, *rest[len(rest) - rank + 1 :])
        return
    more = rank - len(shape)
    yield (batch, rest[-1], *rest[:-1], *[_SPREAD] * more) if len(rest) > 1 else (batch, rest[-1], *[_SPREAD] * more)
    yield (batch, *[_SPREAD] * more, *rest)
    yield (batch, *[1] * more, *rest)
    yield (batch, *[3] * more, *rest)


def _index(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    index = int(match[1])
    yield from _with_rank(index + 1 if index >= 0 else -index, shape)


def _indices(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    yield from _with_rank(len(shape) + 1, shape)


def _match(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    """Two sizes should be equal: a table of positions, say, and what it is added to."""
    one, other = int(match["got"]), int(match["want"])
    for got, want in ((one, other), (other, one)):
        yield from _resized(shape, got, want)
        if len(shape) == 4 and got > 1 and want > 1:
            yield from list(_scaled(shape, want / got))[:1]
            yield from list(_scaled(shape, (want - 1) / (got - 1)))[:1]


def _view(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    """A view wants another number of elements for each sample."""
    sizes = [int(size) for size in re.findall(r"-?\d+", match["shape"])]
    inner = sizes[1:] if sizes and sizes[0] in (-1, shape[0]) else sizes
    want, got = math.prod(size for size in inner if size > 0), int(match["size"]) // shape[0]
    if want and got and want != got:
        yield from _resized(shape, got, want)
        yield from _scaled(shape, want / got)


def _larger(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    if len(shape) > 2:
        for factor in (2, 4):
            yield (*shape[:2], *(size * factor for size in shape[2:]))


def _shorter(match: re.Match[str], shape: Shape) -> Iterator[Shape]:
    if len(shape) == 2:
        yield (shape[0], max(1, shape[1] // 2))


_FEATURES = r"shapes cannot be multiplied \(\d+x(?P<got>\d+) and (?P<want>\d+)x\d+\)"
_RULES: Sequence[tuple[str, Rule]] = (
    (_FEATURES, _features),
    (r"to have (?P<want>\d+) channels, but got (?P<got>\d+) channels", _channels),
    (r"must be equal to input_size\. Expected (?P<want>\d+), got (?P<got>\d+)", _channels),
    (
        r"expected input with shape \[\*, (?:\d+, )*(?P<want>\d+)\], but got input of size\[(?:\d+, )*(?P<got>\d+)\]",
        _channels,
    ),
    (r"running_mean should contain (?P<got>\d+) elements not (?P<want>\d+)", _channels),
    (r"expecting embedding dimension of (?P<want>\d+), but got (?P<got>\d+)", _channels),
    (r"size of tensor a \((?P<got>\d+)\) must match the size of tensor b \((?P<want>\d+)\)", _match),
    (r"shape '\[(?P<shape>[-\d, ]+)\]' is invalid for input of size (?P<size>\d+)", _view),
    (r"[Ee]xpected (?:input to be )?(\d)D(?: or (\d)D)?(?: \(\w+\) or (\d)D)?", _rank),
    (r"[Ee]xpected (\d)-dimensional", _rank),
    (r"not enough values to unpack \(expected (\d)", _rank),
    (r"too many values to unpack \(expected (\d)", _rank),
    (r"len\(dims\) = (\d)", _rank),
    (r"Dimension out of range \(expected to be in range of \[-\d, \d\], but got (-?\d)\)", _index),
    (r"too many indices for tensor|Dimension specified as|tuple index out of range", _indices),
    (
        r"Kernel size can't be|[Oo]utput size is too small|more than 1 value per channel|should be less than|non-zero",
        _larger,
    ),
    (r"index out of range in self", _shorter),
)
