"""How a report is to be shown; everything a format may know besides the report."""

from __future__ import annotations

import tokenize
from collections.abc import Callable
from dataclasses import dataclass

ReadSource = Callable[[str], str | None]


def read_file(path: str) -> str | None:
    """The text of a Python file in the encoding it declares; None where it cannot be read."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class View:
    """What the reader wants to see, and where.

    Attributes:
        color: ANSI colours.
        width: of the terminal, in cells.
        quiet: findings and failures only.
        verbose: how each model was captured, the shift of every norm, tracebacks.
        errors: what could not be analysed; false where the caller says it elsewhere.
        read_source: path of a finding → text of the file, None where there is none.
    """

    color: bool = False
    width: int = 80
    quiet: bool = False
    verbose: bool = False
    errors: bool = True
    read_source: ReadSource = read_file
