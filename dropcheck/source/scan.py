"""One file as the static look sees it: does it parse, and what in it may be a model."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.source.candidates import Candidate, find_candidates, in_order
from dropcheck.source.discover import shown_path

_PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
_LEAVE_OUT = "leave the file out with exclude"
_PYTHON_2 = re.compile(r"Missing parentheses in call to|multiple exception types must be parenthesized|leading zeros")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds without being run.

    ``candidates``: what may turn out to be a model, users before what they use. ``error``: why it could not be read.
    ``level``: how many packages up its relative imports reach, 0 without any.
    """

    candidates: tuple[Candidate, ...] = ()
    error: AnalysisError | None = None
    level: int = 0

    @property
    def may_hold_models(self) -> bool:
        """Whether there is any reason to import the file."""
        return bool(self.candidates)


class _Unreadable(Exception):
    """The message says why; ``hint`` what to try."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def scan(path: str | Path) -> Scan:
    """Parses a file, its declared encoding honoured. Never raises: what is wrong with the file is in ``error``."""
    label = shown_path(str(path))
    try:
        tree = _parsed(_text(Path(path)))
        return Scan(in_order(find_candidates(tree)), level=_import_level(tree))
    except _Unreadable as error:
        return Scan(error=AnalysisError(label, ErrorKind.SYNTAX, str(error), error.hint))
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        return Scan(error=AnalysisError(label, ErrorKind.IMPORT, message, "give dropcheck the right to read it"))
    except RecursionError:
        message = "its expressions are nested too deeply to be parsed"
        return Scan(error=AnalysisError(label, ErrorKind.SYNTAX, message, _LEAVE_OUT))


def _text(path: Path) -> str:
    data = path.read_bytes()
    if b"\0" in data:
        raise _Unreadable(f"byte {data.index(0) + 1} is NUL: not a Python source file", _LEAVE_OUT)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable(
            f"line {line}: byte 0x{data[error.start]:02x} is not valid {error.encoding}",
            "save it as UTF-8, or declare its encoding in the first line: # -*- coding: latin-1 -*-",
        ) from error
    except SyntaxError as error:
        hint = "save it as UTF-8, or name an encoding that Python knows in its first line"
        raise _Unreadable(f"line 1: {error.msg}", hint) from error


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
        raise _Unreadable(f"{where}: {error.msg}", hint) from error
    except (ValueError, MemoryError) as error:
        raise _Unreadable(f"cannot be parsed: {error or 'too deeply nested'}", _LEAVE_OUT) from error


def _import_level(tree: ast.Module) -> int:
    return max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)
