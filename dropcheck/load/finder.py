"""Which imports get stand-ins, and how: those that nothing else can satisfy."""

from __future__ import annotations

import ast
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from dropcheck.load.stubs import MENTIONED, NOT_INSTALLED, Importing, MissingPackage, stub

_SCHEMES = ("stdlib", "platstdlib", "purelib", "platlib")
_LIBRARIES = (*(sysconfig.get_path(scheme) for scheme in _SCHEMES), *site.getsitepackages())
_INSTALLED = tuple({os.path.realpath(path) + os.sep for path in _LIBRARIES})
_HIGHEST = 6
_ROOTS = (".git", "pyproject.toml", "setup.py", "setup.cfg")
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return stub(f"{self.__name__}.{name}")


class _Finder(MetaPathFinder, Loader):
    """Asked last, when no other finder knows a module."""

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = fullname.partition(".")[0]
        known = sys.modules.get(top)
        if known is not None and not isinstance(known, _Package):
            return None
        if known is None:
            importing = _importing_file()
            if importing is None:
                return None
            above = _above(importing, top)
            if above is not None:
                sys.path.append(above)
                return PathFinder.find_spec(fullname, [above])
        self.missing[top] = None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__path__ = []


def _importing_file() -> str | None:
    """The user's own file that imports it, in a statement that is not prepared for its absence; else None."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _is_machinery(frame.f_code.co_filename):
        frame = frame.f_back
    file = "" if frame is None else frame.f_code.co_filename
    if frame is None or os.path.realpath(file).startswith(_INSTALLED) or f"{os.sep}site-packages{os.sep}" in file:
        return None
    return file if frame.f_lineno in _plain_imports(file) else None


def _is_machinery(file: str) -> bool:
    return file.startswith(("<frozen", _OURS)) or "importlib" in file


def _above(file: str, name: str) -> str | None:
    """The directory above a file, up to the root of its project, that holds a module or package of this name."""
    for directory in list(Path(file).resolve().parents)[:_HIGHEST]:
        if (directory / f"{name}.py").is_file() or any((directory / name).glob("*.py")):
            return str(directory)
        if any((directory / root).exists() for root in _ROOTS):
            return None
    return None


@cache
def _plain_imports(file: str) -> frozenset[int]:
    """The lines of the import statements that stand in no ``try``."""
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            pending: list[ast.AST] = [ast.parse(stream.read())]
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    lines: set[int] = set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        inner = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Try) and node.handlers:
            inner = [one for one in inner if one not in node.body]
        pending += inner
    return frozenset(lines)


@contextmanager
def stubbed() -> Iterator[dict[str, None]]:
    """While open, packages that are not installed have stand-ins when the user's code imports them.

    Gives the names of those that were wanted. The stand-ins stay.
    """
    finder = next((one for one in sys.meta_path if isinstance(one, _Finder)), None) or _Finder()
    if finder not in sys.meta_path:
        sys.meta_path.append(finder)
    Importing.active = True
    try:
        yield finder.missing
    finally:
        Importing.active = False


def missing() -> tuple[str, ...]:
    """The packages that stand-ins stand for, by name."""
    return tuple(sorted(name for one in sys.meta_path if isinstance(one, _Finder) for name in one.missing))


def lacking(message: str) -> tuple[str, ...]:
    """The packages whose absence a failure's message speaks of: all that are missing if it meets a stand-in."""
    named = re.search(rf"{MissingPackage.__name__}: .*'(\w+)' {NOT_INSTALLED}", message)
    if named is not None:
        return (named[1],)
    return missing() if re.search(MENTIONED, message) else ()
