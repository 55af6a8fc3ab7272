"""A code frame: the lines of a file that matter, numbered, with what matters underlined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells
from rich.text import Text

from dropcheck.report.layout import FIELD
from dropcheck.report.marks import Mark
from dropcheck.report.wording import visible

_MOST_LINES = 4  # of one mark: a call over many lines is recognised by its first
_GUTTER = FIELD - len(" │ ")  # so that code stands where the text of the fields below it does


@dataclass(frozen=True, slots=True)
class Underline:
    """Part of one line, from ``start`` to before ``end``, counted in characters from 0."""

    start: int
    end: int
    label: str
    primary: bool


def frame(source: str, marks: Sequence[Mark], width: int, style: str) -> list[Text]:
    """The marked lines of ``source``, at most ``width`` cells wide; empty where the source has no such line.

    The first mark is drawn in ``style``; marks in other files are left out. Common indentation is dropped, tabs are
    expanded to every fourth column, and a line too long is cut around what is underlined.
    """
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    here = [mark for mark in marks if mark.site.path == marks[0].site.path]
    rows: dict[int, list[Underline]] = {}
    for mark in here:
        for number, underline in _underlines(lines, mark, mark is marks[0]):
            rows.setdefault(number, []).append(underline)
    if not rows:
        return []
    numbers = _without_single_gaps(sorted(rows))
    indent = min((_indent(_shown(lines[number - 1])) for number in numbers if lines[number - 1].strip()), default=0)
    gutter = max(len(str(numbers[-1])), _GUTTER)
    ellipsis = Text(f"{'':>{gutter}} ┆", "dim")
    drawn: list[Text] = []
    for last, number in zip([numbers[0], *numbers], numbers, strict=False):
        line = _shown(lines[number - 1])[indent:]
        drawn += [ellipsis] if number > last + 1 else []
        drawn += _row(line, f"{number:>{gutter}} │ ", _moved(rows.get(number, []), indent), width, style)
    cut_off = min(max(mark.site.end_line for mark in here), len(lines)) > numbers[-1]
    return [*drawn, ellipsis] if cut_off else drawn


def _underlines(lines: Sequence[str], mark: Mark, primary: bool) -> Iterator[tuple[int, Underline]]:
    """Each line a mark touches with the part of it that is underlined; the label goes with the first."""
    site = mark.site
    for number in range(max(site.line, 1), min(site.end_line, site.line + _MOST_LINES - 1, len(lines)) + 1):
        line = lines[number - 1]
        first, last = number == site.line, number == site.end_line
        start = _shown_length(line[: site.column - 1]) if first else _indent(_shown(line))
        end = _shown_length(line[: site.end_column - 1] if last else line.rstrip())
        yield number, Underline(start, max(end, start + 1), mark.label if first else "", primary)


def _shown(line: str) -> str:
    return visible(line.expandtabs(4))


def _shown_length(start_of_line: str) -> int:
    return len(start_of_line.expandtabs(4))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _moved(underlines: Sequence[Underline], by: int) -> list[Underline]:
    """Underlines of a line whose first ``by`` characters are gone, the outermost of those that start together first."""
    moved = (replace(one, start=max(one.start - by, 0), end=max(one.end - by, 1)) for one in underlines)
    return sorted(moved, key=lambda one: (one.start, -one.end))


def _without_single_gaps(numbers: Sequence[int]) -> list[int]:
    """One line left out is no shorter than the sign that says so."""
    bridges = {number + 1 for number in numbers if number + 2 in numbers}
    return sorted({*numbers, *bridges})


def _row(line: str, gutter: str, underlines: Sequence[Underline], width: int, style: str) -> list[Text]:
    """A numbered line and, below it, a row for each underline."""
    room = width - cell_len(gutter)
    start, end = (underlines[0].start, max(one.end for one in underlines)) if underlines else (0, 0)
    shown, skipped = _cut(line, start, end, room)
    drawn = [Text.assemble((gutter, "dim"), shown)]
    for one in _moved(underlines, skipped):
        if one.start <= len(shown):
            blank = f"{'':>{cell_len(gutter) - 2}}│ "
            drawn += (Text.assemble((blank, "dim"), part) for part in _pointer(shown, one, room, style))
    return drawn


def _cut(text: str, start: int, end: int, room: int) -> tuple[str, int]:
    """At most ``room`` cells of a line that show ``start`` and if possible ``end``; how many characters went before."""
    if cell_len(text) <= room:
        return text, 0
    skipped = 0 if cell_len(text[:end]) < room else max(start - room // 4, 0)
    text = f"…{text[skipped + 1 :]}" if skipped else text
    return (text if cell_len(text) <= room else f"{chop_cells(text, room - 1)[0]}…"), skipped


def _pointer(shown: str, one: Underline, room: int, style: str) -> Iterator[Text]:
    """The underline with its label beside it, or below it where the line is full."""
    before = cell_len(shown[: one.start])
    length = min(max(cell_len(shown[one.start : one.end]), 1), max(room - before, 1))
    tone = style if one.primary else "cyan"
    line = Text.assemble(" " * before, (("^" if one.primary else "~") * length, tone))
    if before + length + 1 + cell_len(one.label) <= room:
        yield line + Text(f" {one.label}" if one.label else "", tone)
        return
    yield line
    yield Text(" " * max(min(before, room - cell_len(one.label)), 0)) + Text(one.label, tone)
