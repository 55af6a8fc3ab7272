"""Where in the user's files a call was made or a layer constructed, read off the running stack.

The innermost frames always belong to torch or to dropcheck. A frame is the *user's* unless its file lies in
torch, in the standard library or among installed packages; a library's frame is used only when no user's is there,
and that of generated code only when nothing else is.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

from dropcheck.capture.replica import every_path
from dropcheck.graph import Site

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_SELF = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_MODULE_CALL = os.path.join(_TORCH, "nn", "modules", "module.py")
_FX = os.path.join(_TORCH, "fx") + os.sep
_NN = os.path.join(_TORCH, "nn", "modules") + os.sep
_LIBRARIES = tuple(
    os.path.abspath(path) + os.sep
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


@lru_cache(maxsize=4096)
def _owner(filename: str) -> str:
    """Whose file this is: ``torch``, ``dropcheck``, ``library`` or ``user``."""
    if filename.startswith("<frozen"):
        return "library"
    path = os.path.abspath(filename)
    if path.startswith(_TORCH):
        return "torch"
    if path.startswith(_SELF):
        return "dropcheck"
    if path.startswith(_LIBRARIES) or f"{os.sep}site-packages{os.sep}" in path:
        return "library"
    return "user"


_CONSOLES = ("<stdin>", "<console>", "<ipython-input")
_RANDOM_LETTERS = 8
"""How many tempfile puts behind a prefix."""


@lru_cache(maxsize=4096)
def _is_generated(filename: str, module: str) -> bool:
    """Whether nobody wrote this code: it was compiled from a string, or lies in a temporary file a library made."""
    if filename.startswith("<"):
        return not filename.startswith(_CONSOLES)
    folder, file = os.path.split(filename)
    stem = os.path.splitext(file)[0]
    prefix = next((name for name in (module, module.rpartition(".")[2]) if stem.startswith(name)), stem)
    named_by_tempfile = len(stem) - len(prefix) in (_RANDOM_LETTERS, _RANDOM_LETTERS + 1)
    return named_by_tempfile and os.path.realpath(folder) == os.path.realpath(tempfile.gettempdir())


@lru_cache(maxsize=65536)
def _site(code: CodeType, instruction: int) -> Site | None:
    line, end_line, column, end_column = next(islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    if line is None:
        return None
    path = shown_path(code.co_filename)
    if column is None or end_line is None or end_column is None:
        return Site(path, line, 1, line, 1)
    start = _characters(code.co_filename, line, column)
    end = _characters(code.co_filename, end_line, end_column)
    return Site(path, line, start + 1, end_line, end + 1)


def _characters(filename: str, line: int, offset: int) -> int:
    """The interpreter counts columns in UTF-8 bytes; reports count characters."""
    text = linecache.getline(filename, line)
    return offset if text.isascii() else len(text.encode()[:offset].decode(errors="ignore"))


def shown_path(filename: str) -> str:
    """A file's path as reports show it: relative to the working directory where it lies below, forward slashes."""
    if filename.startswith("<"):
        return filename
    path = os.path.abspath(filename)
    inside = os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
    return inside.replace(os.sep, "/")


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from ``frame`` outwards, up to the one in which dropcheck called the user's code."""
    while frame is not None and _owner(frame.f_code.co_filename) == "dropcheck":
        frame = frame.f_back
    while frame is not None and _owner(frame.f_code.co_filename) != "dropcheck":
        yield frame
        frame = frame.f_back


Origin = tuple[str, int, int]
"""An instruction: file, first line of its function, offset in it. The same in every run of one process."""


@dataclass(frozen=True, slots=True)
class CallSite:
    """Where a call stands. ``by_container``: torch itself (Sequential …) made the call on the user's behalf.

    ``origin`` is the innermost call outside torch: the user's, or one of a library.
    """

    site: Site | None
    by_container: bool
    in_library: bool
    origin: Origin | None = None


def call_site() -> CallSite:
    """The site of the call now being captured. Call it from within a hook, a mode or a tracer."""
    by_container = in_library = False
    fallback: FrameType | None = None
    generated: FrameType | None = None
    origin: Origin | None = None
    first = True
    for frame in _outwards(sys._getframe(1)):
        filename = frame.f_code.co_filename
        owner = _owner(filename)
        if owner == "torch":
            # Frames between a module and its caller say nothing; any other layer of torch made the call itself.
            if first and filename != _MODULE_CALL and not filename.startswith(_FX) and filename.startswith(_NN):
                by_container = True
            continue
        first = False
        origin = origin or (filename, frame.f_code.co_firstlineno, frame.f_lasti)
        if _is_generated(filename, frame.f_globals.get("__name__", "")):
            generated = generated or frame
            continue
        if owner == "user":
            return CallSite(_site(frame.f_code, frame.f_lasti), by_container, in_library, origin)
        in_library = True
        fallback = fallback or frame
    fallback = fallback or generated
    site = None if fallback is None else _site(fallback.f_code, fallback.f_lasti)
    return CallSite(site, by_container, in_library, origin)


def calling_code() -> CodeType | None:
    """The function that makes the call now being captured: the innermost that is not torch's own."""
    frames = (frame.f_code for frame in _outwards(sys._getframe(1)))
    return next((code for code in frames if _owner(code.co_filename) != "torch"), None)


def _constructor_call(module: nn.Module) -> Site | None:
    fallback: FrameType | None = None
    for frame in _outwards(sys._getframe(1)):
        code = frame.f_code
        if code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is module:
            continue  # still inside the constructor of one of its classes
        owner = _owner(code.co_filename)
        if owner == "user":
            return _site(code, frame.f_lasti)
        if owner == "library":
            fallback = fallback or frame
    return None if fallback is None else _site(fallback.f_code, fallback.f_lasti)


@dataclass(slots=True)
class BuiltSites:
    """The construction sites of the modules built while ``construction_sites`` was open."""

    _sites: dict[int, tuple[nn.Module, Site | None]] = field(default_factory=dict)

    def note(self, module: nn.Module) -> None:
        self._sites.setdefault(id(module), (module, _constructor_call(module)))

    def by_path(self, model: nn.Module) -> dict[str, Site]:
        """Construction sites by module path; a copied layer takes the site of the nearest module around it."""
        sites: dict[str, Site] = {}
        for path, module in every_path(model):
            known, site = self._sites.get(id(module), (None, None))
            if known is not module or site is None:
                site = sites.get(path.rpartition(".")[0])
            if site is not None:
                sites[path] = site
        return sites


@contextmanager
def construction_sites() -> Iterator[BuiltSites]:
    """While open, remembers where each nn.Module is constructed. For the worker: it wraps ``nn.Module.__init__``."""
    built = BuiltSites()
    original = nn.Module.__init__

    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        built.note(self)
        original(self, *args, **kwargs)

    nn.Module.__init__ = __init__  # type: ignore[method-assign]
    try:
        yield built
    finally:
        nn.Module.__init__ = original  # type: ignore[method-assign]
