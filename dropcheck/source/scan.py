"""One file as the static look sees it: does it parse, and what in it may be a model."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.source.candidates import Candidate, find_candidates, in_order
from dropcheck.source.comments import NONE, Comments, comments_of
from dropcheck.source.discover import shown_path
from dropcheck.source.reading import LEAVE_OUT, Unreadable, text_of

_PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
_PYTHON_2 = re.compile(r"Missing parentheses in call to|multiple exception types must be parenthesized|leading zeros")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds without being run.

    ``candidates``: what may turn out to be a model, users before what they use. ``error``: why it could not be read.
    ``level``: how many packages up its relative imports reach, 0 without any. ``comments``: those for dropcheck.
    ``imports``: the names it imports from modules, each with the last part of the module's name.
    """

    candidates: tuple[Candidate, ...] = ()
    error: AnalysisError | None = None
    level: int = 0
    comments: Comments = NONE
    imports: frozenset[tuple[str, str]] = frozenset()

    @property
    def may_hold_models(self) -> bool:
        """Whether there is any reason to import the file."""
        return bool(self.candidates)


def scan(path: str | Path) -> Scan:
    """Parses a file, its declared encoding honoured. Never raises: what is wrong with the file is in ``error``."""
    label = shown_path(str(path))
    try:
        text = text_of(path)
        tree = _parsed(text)
        comments = comments_of(text, label)
        return Scan(in_order(find_candidates(tree)), None, _import_level(tree), comments, frozenset(_imports(tree)))
    except Unreadable as error:
        return Scan(error=AnalysisError(label, ErrorKind.SYNTAX, str(error), error.hint))
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        return Scan(error=AnalysisError(label, ErrorKind.IMPORT, message, "give dropcheck the right to read it"))
    except RecursionError:
        message = "its expressions are nested too deeply to be parsed"
        return Scan(error=AnalysisError(label, ErrorKind.SYNTAX, message, LEAVE_OUT))


def _parsed(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        where = f"line {error.lineno}, column {error.offset}" if error.offset else f"line {error.lineno}"
        hint = f"correct it, or leave the file out with exclude (dropcheck reads it as {_PYTHON})"
        if _PYTHON_2.search(error.msg):
            hint = f"this looks like Python 2: convert the file to {_PYTHON}, or leave it out with exclude"
        raise Unreadable(f"{where}: {error.msg}", hint) from error
    except (ValueError, MemoryError) as error:
        raise Unreadable(f"cannot be parsed: {error or 'too deeply nested'}", LEAVE_OUT) from error


def _import_level(tree: ast.Module) -> int:
    return max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").rpartition(".")[2]
            yield from ((module, alias.name) for alias in node.names)
