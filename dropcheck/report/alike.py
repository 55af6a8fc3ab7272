"""What was left out for one and the same reason, told once."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from dropcheck.report.concise import error_line
from dropcheck.report.wording import file_of, one_line, plural, visible
from dropcheck.result import AnalysisError, ModelReport

T = TypeVar("T")

FEW = 2  # so many are no crowd: each is told in full
_MOST_NAMED = 6
_LINE = re.compile(r" \([^()]*, line \d+\)")
_WHOM = re.compile(r"^constructing \S+ failed")
_GUESSES = " with the guessed arguments "


def alike(things: Iterable[T], why: Callable[[T], Hashable]) -> list[tuple[T, ...]]:
    """Things of the same ``why`` together, in the order of their first; each alone where they are but a few."""
    groups: dict[Hashable, list[T]] = {}
    for thing in things:
        groups.setdefault(why(thing), []).append(thing)
    return [part for group in groups.values() for part in ((tuple(group),) if len(group) > FEW else zip(group))]


def cause(reason: str) -> str:
    """What a reason says that does not depend on the file, its lines, the class or its arguments; no remedy either."""
    told = _LINE.sub("", reason.partition("; ")[0].partition(_GUESSES)[0]).rstrip(": ")
    return _WHOM.sub("constructing it failed", told)


def remedy(reason: str) -> str:
    """What a reason says is to be done; empty if nothing."""
    return reason.partition("; ")[2]


def named(names: Sequence[str], *, all_of_them: bool = False) -> Iterator[str]:
    """The names, each a line; of many the first, and how many more there are."""
    shown = names if all_of_them or len(names) <= _MOST_NAMED + 1 else names[:_MOST_NAMED]
    yield from map(visible, shown)
    if len(shown) < len(names):
        yield f"and {len(names) - len(shown)} more; --verbose names them all"


def error_lines(errors: Iterable[AnalysisError]) -> Iterator[str]:
    """What could not be analysed, why, and what to try: a line each, and many of the same cause under one line."""
    for group in alike(errors, lambda error: (error.kind, cause(error.message))):
        first = group[0]
        if len(group) == 1:
            yield error_line(first)
            continue
        files = all(error.path == file_of(error.path) for error in group)
        hint = f" ({one_line(first.hint)})" if first.hint else ""
        what = plural(len(group), "file" if files else "model")
        yield f"{what}: {first.kind} error: {one_line(cause(first.message))}{hint}"
        yield from (f"  {line}" for line in named([error.path for error in group]))


def target_of(model: ModelReport) -> str:
    """A model's target with the arguments it was given."""
    return model.target if not model.arguments or "(" in model.target else f"{model.target}({model.arguments})"
