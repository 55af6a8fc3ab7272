"""One source file as rules see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceFile:
    """The text of one file that nobody has run. ``path`` is how reports call it."""

    path: str
    text: str
