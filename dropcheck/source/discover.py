"""Which files a run looks at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.source.patterns import Patterns
from dropcheck.source.usage import UsageError

PYTHON_SUFFIXES = frozenset({".py", ".pyw", ""})
"""Endings of files that may be named; only .py files are searched for."""

_SKIPPED = frozenset({"__pycache__", "__pypackages__", "build", "node_modules", "site-packages"})
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


@dataclass(frozen=True, slots=True)
class Found:
    """The Python files of a run, in order and each once, and the directories that could not be read.

    ``notebooks``: how many Jupyter notebooks lie beside them, which are not read.
    """

    files: tuple[Path, ...]
    errors: tuple[AnalysisError, ...] = ()
    notebooks: int = 0


def find_files(paths: Iterable[Path], exclude: Iterable[str] = (), root: str | Path | None = None) -> Found:
    """The files among ``paths`` and the .py files in the directories among them, sorted within each directory.

    ``exclude`` are patterns as in .gitignore, relative to ``root`` (default: the working directory). They, and the
    directories never searched (hidden ones, virtual environments, build output, installed packages), do not apply to
    what ``paths`` names itself. Symbolic links are followed, no directory is entered twice.

    Raises:
        UsageError: a path does not exist.
    """
    search = _Search(Patterns(exclude), os.path.abspath(root or ""))
    files: dict[str, Path] = {}
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"{path}: no such file or directory")
        for file in search.within(path) if os.path.isdir(path) else (path,):
            files.setdefault(os.path.realpath(file), file)
    return Found(tuple(files.values()), tuple(search.errors), search.notebooks)


class _Search:
    def __init__(self, left_out: Patterns, root: str) -> None:
        self.left_out, self.root = left_out, root
        self.entered: set[tuple[int, int]] = set()
        self.errors: list[AnalysisError] = []
        self.notebooks = 0

    def within(self, directory: Path) -> Iterator[Path]:
        """The .py files at and below ``directory``: its own first, then those of its subdirectories."""
        try:
            status = directory.stat()
            identity = (status.st_dev, status.st_ino)
            entries = sorted(directory.iterdir()) if identity not in self.entered else []
        except OSError as error:
            self.errors.append(_unreadable(directory, error))
            return
        self.entered.add(identity)
        directories = []
        for entry in entries:
            if os.path.isdir(entry):
                directories.append(entry)
            elif entry.suffix == ".py" and self._wanted(entry):
                yield entry
            elif entry.suffix == ".ipynb" and self._wanted(entry):
                self.notebooks += 1
        for entry in directories:
            if not self._skipped(entry) and not self._excluded(entry, directory=True):
                yield from self.within(entry)

    def _wanted(self, file: Path) -> bool:
        return os.path.isfile(file) and not self._excluded(file, directory=False)

    def _skipped(self, directory: Path) -> bool:
        if directory.name.startswith(".") or directory.name in _SKIPPED:
            return True
        return any(os.path.exists(directory / mark) for mark in _ENVIRONMENT_MARKS)

    def _excluded(self, path: Path, *, directory: bool) -> bool:
        return self.left_out(os.path.relpath(path, self.root).replace(os.sep, "/"), directory=directory)


def shown_path(path: str) -> str:
    """A path as reports show it: relative to the working directory where it lies below, with forward slashes."""
    absolute = os.path.abspath(path)
    here = os.getcwd()
    inside = absolute == here or absolute.startswith(here.rstrip(os.sep) + os.sep)
    return (os.path.relpath(absolute, here) if inside else absolute).replace(os.sep, "/")


def _unreadable(directory: Path, error: OSError) -> AnalysisError:
    return AnalysisError(
        path=shown_path(str(directory)),
        kind=ErrorKind.CONFIG,
        message=f"the directory cannot be searched: {error.strerror}",
        hint="give dropcheck the right to read it, or leave it out with exclude",
    )
