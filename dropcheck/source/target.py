"""What the user asks to be analysed: a PATH, or a TARGET such as ``nets.py:PreRes(depth=20, p=0.5)``."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dropcheck.job import Job
from dropcheck.source.discover import PYTHON_SUFFIXES, shown_path
from dropcheck.source.usage import UsageError

_NAME = r"[^\W\d]\w*"
_DOTTED = re.compile(rf"{_NAME}(?:\.{_NAME})*")
_TARGET = re.compile(rf"(?s)(?P<place>.+?):(?P<symbol>{_DOTTED.pattern})\s*(?P<call>\(.*\))?")
_OPENING = "f("


@dataclass(frozen=True, slots=True)
class Target:
    """A file or directory (``path``), or a dotted ``module``; ``symbol`` and ``call`` are None for a whole PATH.

    ``call`` is the text between the parentheses, ``""`` for an empty pair.
    """

    path: Path | None = None
    module: str | None = None
    symbol: str | None = None
    call: str | None = None

    def job(self, input: str | None = None, weights: str | None = None) -> Job:
        """What the worker is asked; ``path`` must not be a directory."""
        path = None if self.path is None else os.path.abspath(self.path)
        label = self.module or shown_path(str(path))
        trained = None if weights is None else os.path.abspath(weights)
        return Job(label, path, self.module, self.symbol, self.call, input, trained)


def parse_target(text: str) -> Target:
    """The PATH or TARGET meant by one command line argument.

    Raises:
        UsageError: no such file, a symbol or module that is no name, arguments that are no Python literals.
    """
    text = text.strip()
    if os.path.exists(text):
        return Target(path=_python(Path(text), text))
    match = _TARGET.fullmatch(text)
    if match is None:
        raise UsageError(_no_target(text))
    place, symbol, call = match["place"], match["symbol"], match["call"]
    if call is not None:
        call = call[1:-1]
        _check_arguments(text, call, start=match.start("call") + 1)
    if os.path.isfile(place) or place.endswith(".py") or "/" in place or os.sep in place:
        return Target(path=_python(_existing(place), place), symbol=symbol, call=call)
    if not _DOTTED.fullmatch(place):
        raise UsageError(
            f"{text}: {place!r} is neither a file nor a module; write file.py:Symbol or package.module:Symbol"
        )
    return Target(module=place, symbol=symbol, call=call)


def _check_arguments(text: str, call: str, start: int) -> None:
    try:
        parse_arguments(call, start)
    except UsageError as error:
        raise UsageError(f"{text}: {error}") from error


def _existing(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise UsageError(f"{text}: a directory has no symbols; name the file, as in {path.as_posix()}/nets.py:Net")
    if not path.is_file():
        raise UsageError(_missing(text))
    return path


def _python(path: Path, text: str) -> Path:
    if path.is_dir() or (path.is_file() and path.suffix in PYTHON_SUFFIXES):
        return path
    if path.suffix == ".ipynb":
        raise UsageError(f"{text}: a notebook; make a .py file of it with jupyter nbconvert --to script {text}")
    raise UsageError(f"{text}: not a Python file; expected a file ending in .py, or a directory")


def _no_target(text: str) -> str:
    if not text:
        return "an empty path; expected a file, a directory, file.py:Symbol or package.module:Symbol"
    place, colon, rest = text.rpartition(".py:")
    if not colon:
        return _missing(text)
    if "(" in rest:
        return f"{text}: the call {rest!r} does not end with its closing parenthesis; write file.py:Net(depth=20)"
    return f"{text}: after the colon a symbol is expected, got {rest!r}; write {place}.py:Net"


def _missing(text: str) -> str:
    path = Path(text)
    siblings = os.listdir(path.parent) if path.parent.is_dir() else []
    close = get_close_matches(path.name, siblings, n=1)
    if close:
        return f"{text}: no such file or directory; did you mean {(path.parent / close[0]).as_posix()}?"
    if _DOTTED.fullmatch(text) and path.suffix not in PYTHON_SUFFIXES - {""}:
        return f"{text}: no such file or directory; for a symbol of a module write {text}:Symbol"
    return f"{text}: no such file or directory"


def parse_arguments(call: str, start: int = 0) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments in the text of a call, Python literals all of them.

    ``start`` is where ``call`` begins in what the user typed; columns in messages count from 1 there.
    Raises UsageError.
    """
    tree = _parsed(call, start)
    positional = tuple(
        _literal(node, f"argument {number}", call, start) for number, node in enumerate(tree.args, start=1)
    )
    named: dict[str, Any] = {}
    for keyword in tree.keywords:
        if keyword.arg is None:
            raise UsageError(f"arguments are given one by one; ** at column {_column(keyword, call, start)} is not")
        if keyword.arg in named:
            raise UsageError(f"argument {keyword.arg} is given twice")
        named[keyword.arg] = _literal(keyword.value, f"argument {keyword.arg}", call, start)
    return positional, named


def _parsed(call: str, start: int) -> ast.Call:
    try:
        tree = ast.parse(f"{_OPENING}{call}\n)", mode="eval").body
    except SyntaxError as error:
        column = max(1, (error.offset or 0) - len(_OPENING)) if error.lineno == 1 else len(call)
        raise UsageError(f"not valid arguments at column {start + column}: {error.msg}") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"not valid arguments: {error}") from error
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise UsageError("unbalanced parentheses; write arguments as in (depth=20, p=0.5)")
    return tree


def _literal(node: ast.expr, what: str, call: str, start: int) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UsageError(_not_literal(node, what, call, start)) from error
    if value is ...:
        raise UsageError(_not_literal(node, what, call, start))
    return value


def _not_literal(node: ast.expr, what: str, call: str, start: int) -> str:
    shown = ast.get_source_segment(f"{_OPENING}{call}\n)", node) or "it"
    quoting = f"; for a text write '{shown}'" if isinstance(node, ast.Name) else ""
    return f"{what} (column {_column(node, call, start)}): {shown} is not a Python literal{quoting}"


def _column(node: ast.expr | ast.keyword, call: str, start: int) -> int:
    """Where ``node`` begins, in characters; ast counts the bytes of the line it is on."""
    if node.lineno > 1:
        return start + len("\n".join(call.split("\n")[: node.lineno - 1])) + 2 + node.col_offset
    return start + len(call.encode()[: node.col_offset - len(_OPENING)].decode(errors="ignore")) + 1
