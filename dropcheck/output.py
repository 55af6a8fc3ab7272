"""Writes a report to a file so that no reader ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(file: Path) -> None:
    """Raises OSError if a report could evidently not be written to ``file``: before the work, not after it."""
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a directory")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {file.parent}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise PermissionError(f"no permission to write {file}")


def write_atomically(file: Path, text: str) -> None:
    """Replaces ``file`` by one with this text, in UTF-8; a device or pipe is written to. Raises OSError."""
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
        return
    with drafted(file) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def drafted(file: Path) -> Iterator[Path]:
    """A file to write to, beside ``file`` and with its suffix, that takes its place on leaving.

    Nothing is left of it after an exception; where nothing was written, ``file`` stays as it is. A link is followed.
    Raises OSError.
    """
    target = file.resolve()
    draft = target.with_name(f".{os.getpid()}.draft.{target.name}")
    try:
        yield draft
        if draft.exists():
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
