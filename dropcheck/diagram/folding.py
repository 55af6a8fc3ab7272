"""Finds blocks that repeat, along the boundaries of modules."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

LONGEST = 60
"""Modules (or lone operations) in one block: more is no block but half a network."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """``times`` blocks of ``period`` items each, one after another from ``start`` on."""

    start: int
    period: int
    times: int


def blocks(items: Sequence[Hashable], paths: Sequence[Sequence[str]]) -> tuple[Repeat, ...]:
    """Blocks that stand at least twice in a row, from left to right, without overlap.

    Args:
        items: equal where the operations are.
        paths: by item, the module path it lies at, taken apart. A block begins and ends with a module (or is made of
            several siblings); outer modules come first, so that a stage that repeats hides the blocks it is made of.
    """
    return tuple(_blocks(items, paths, range(len(items)), 0))


def _blocks(items: Sequence[Hashable], paths: Sequence[Sequence[str]], within: range, depth: int) -> Iterator[Repeat]:
    siblings = [tuple(group) for _, group in groupby(within, lambda place: (*paths[place][: depth + 1],))]
    found = repeats([tuple(items[place] for place in one) for one in siblings])
    folded = {one.start: one for one in found}
    number = 0
    while number < len(siblings):
        one = folded.get(number)
        places = siblings[number]
        if one is not None:
            number += one.period * one.times
            last = siblings[number - 1][-1]
            yield Repeat(places[0], (last + 1 - places[0]) // one.times, one.times)
            continue
        if len(places) > 1 and len(paths[places[0]]) > depth + 1:
            yield from _blocks(items, paths, range(places[0], places[-1] + 1), depth + 1)
        number += 1


def repeats(items: Sequence[Hashable]) -> tuple[Repeat, ...]:
    """The repeats of a plain sequence: the one with the most blocks, of these the longest, then those beside it.

    Takes len(items) · LONGEST steps for every repeat found.
    """
    numbers: dict[Hashable, int] = {}
    ids = [numbers.setdefault(item, len(numbers)) for item in items]
    return tuple(_repeats(ids, 0))


def _repeats(ids: Sequence[int], offset: int) -> Iterator[Repeat]:
    candidates = (
        Repeat(start, period, 1 + length // period)
        for period in range(1, min(LONGEST, len(ids) // 2) + 1)
        for start, length in enumerate(_run_lengths(ids, period))
    )
    best = max(candidates, key=lambda one: (one.times, one.period, -one.start), default=Repeat(0, 1, 1))
    if best.times > 1:
        end = best.start + best.period * best.times
        yield from _repeats(ids[: best.start], offset)
        yield Repeat(offset + best.start, best.period, best.times)
        yield from _repeats(ids[end:], offset + end)


def _run_lengths(ids: Sequence[int], period: int) -> list[int]:
    """For every place how many items in a row equal the one ``period`` further on."""
    lengths = [0] * (len(ids) - period + 1)
    for place in range(len(ids) - period - 1, -1, -1):
        lengths[place] = lengths[place + 1] + 1 if ids[place] == ids[place + period] else 0
    return lengths
