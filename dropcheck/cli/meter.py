"""How far a run is, on stderr: a bar with the time left on a terminal; elsewhere one line about a measurement."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from dropcheck.cli.terminal import say
from dropcheck.report.wording import visible
from dropcheck.table import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Meter:
    """Open while measuring or linting. ``what`` is done, as in ``measuring nets.py:Net``, ``unit`` after ``unit``;
    ``silent``: nothing is shown.
    """

    def __init__(self, what: str, *, silent: bool, unit: str = "batches") -> None:
        self.what, self.silent, self.unit = what, silent, unit
        self.said = False
        self.bar: Bar | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> Meter:
        if not self.silent and sys.stderr.isatty():
            self.bar = _bar(self.unit)
            self.task = self.bar.add_task(self.what, total=None, at="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def hear(self, progress: Progress) -> None:
        if self.bar is None and not self.silent and not self.said:
            say(f"dropcheck: {self.what}")
            self.said = True
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=progress.done, total=progress.total)

    def watch(self, done: int, total: int, at: str) -> None:
        """So many of so many are done, and ``at`` is waited for."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, total=total, at=visible(at))

    def stopping(self) -> None:
        """Says that the first Ctrl-C was heard."""
        if not self.silent:
            say("dropcheck: stopping after this batch; Ctrl-C again to end at once")


def _bar(unit: str) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[at]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    return Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
