"""A chart as lines of text: one box a line, what else it reads named behind it, folded blocks in brackets."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

from rich.console import Console
from rich.text import Text

from dropcheck.diagram.chart import Box, Chart, Role
from dropcheck.report.wording import visible
from dropcheck.rule import Severity

_TONE = {Role.DROPOUT: "magenta", Role.NORM: "blue", Role.OPAQUE: "bold", Role.END: "dim"}
_ALARM = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: ""}


def render(chart: Chart, color: bool) -> str:
    console = Console(
        file=StringIO(),
        color_system="standard" if color else None,
        force_terminal=color,
        legacy_windows=False,
        highlight=False,
        width=10_000,
        _environ={},
    )
    with console.capture() as capture:
        for line in _lines(chart):
            console.print(line, soft_wrap=True)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _lines(chart: Chart) -> Iterator[Text]:
    yield Text(visible(chart.title), "bold")
    widths = (
        max(len(visible(box.title)) for box in chart.boxes),
        max(len(visible(_place(box))) for box in chart.boxes),
        max(len(box.note) for box in chart.boxes),
    )
    folded = {position: fold for fold in chart.folds for position in range(fold.first, fold.last + 1)}
    for position in range(len(chart.boxes)):
        fold = folded.get(position)
        gutter = "  " if fold is None else "│ "
        if fold is not None and position == fold.first:
            yield Text(visible(f"┌ {fold.times} × {fold.name}".rstrip(" ×")), "dim")
        yield Text.assemble((gutter, "dim"), _line(chart, position, widths))
        if fold is not None and position == fold.last:
            yield Text("└", "dim")


def _line(chart: Chart, position: int, widths: tuple[int, int, int]) -> Text:
    box = chart.boxes[position]
    alarm = _ALARM[box.severity] if box.severity is not None else ""
    mark = {Severity.ERROR: "✗", Severity.WARNING: "!"}.get(box.severity or Severity.INFO, " ")
    line = Text.assemble(
        (f"{mark} ", alarm),
        (visible(box.title).ljust(widths[0]), alarm or _TONE.get(box.role, "")),
        "  ",
        visible(_place(box)).ljust(widths[1]),
        "  ",
        (box.note.ljust(widths[2]), alarm),
        "  ",
        (box.shape, "dim"),
    )
    others = [link.source for link in chart.before(position) if link.source != position - 1]
    apart = not chart.before(position) or position - 1 in {link.source for link in chart.before(position)}
    if others:
        names = ", ".join(visible(chart.boxes[other].path) for other in others)
        line.append(f"  {'+' if apart else '←'} {names}", "dim")
    return line


def _place(box: Box) -> str:
    return "" if box.role is Role.END and box.path == box.title else box.path
