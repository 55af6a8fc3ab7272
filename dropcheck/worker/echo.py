"""What linted code prints: every line once, however often it is run, and not without end."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

MOST_LINES = 30
"""Lines of one file that are passed on."""


class Echo(io.TextIOBase):
    """Passes on to ``stream`` each line that has not been there yet; ``label`` names the file in the last one."""

    def __init__(self, stream: TextIO, label: str) -> None:
        super().__init__()
        self.stream, self.label = stream, label
        self.seen: set[str] = set()
        self.unfinished = ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        *lines, self.unfinished = (self.unfinished + text.replace("\r", "\n")).split("\n")
        for line in lines:
            self._pass_on(line)
        return len(text)

    def finish(self) -> None:
        """Passes on what no line end followed."""
        self._pass_on(self.unfinished)
        self.unfinished = ""
        self.stream.flush()

    def _pass_on(self, line: str) -> None:
        if not line.strip() or line in self.seen or len(self.seen) > MOST_LINES:
            return
        self.seen.add(line)
        more = f"{self.label} prints more than this"
        self.stream.write(f"{line if len(self.seen) <= MOST_LINES else more}\n")
        self.stream.flush()


@contextmanager
def echoed(label: str) -> Iterator[None]:
    """While open, Python's standard streams are one Echo of standard error."""
    before = sys.stdout, sys.stderr
    echo = Echo(before[1], label)
    sys.stdout = sys.stderr = echo
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        echo.finish()
