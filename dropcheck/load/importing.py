"""The user's file or module, imported the way its own program would import it."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from dropcheck.job import Job
from dropcheck.load.failure import LoadError, foreign, to_install
from dropcheck.load.finder import stubbed
from dropcheck.result import ErrorKind

_HINT = "make sure that the file can be imported by itself, from the directory dropcheck runs in"


def import_job(job: Job, level: int = 0) -> ModuleType:
    """The module a job is about. ``level``: how many packages up the file's relative imports reach.

    Packages that are not installed have stand-ins. For a process that does nothing else: sys.argv, sys.path,
    sys.meta_path and sys.modules are changed.

    Raises:
        LoadError: it cannot be imported, whatever it raised or tried (SystemExit included).
    """
    with stubbed() as missing, _nothing_required():
        try:
            return _imported(job, level)
        except LoadError as error:
            if not missing:
                raise
            # Some line needs more than a stand-in can be: then what is not there is the reason.
            first = next(iter(missing))
            message = f"importing it failed: ModuleNotFoundError: No module named {first!r}, and {error.message}"
            raise LoadError(ErrorKind.IMPORT, message, to_install(missing), error.details) from error


@contextmanager
def _nothing_required() -> Iterator[None]:
    """While open, what a file's command line requires is None where it is not given: nobody gives anything."""
    original = argparse.ArgumentParser.parse_known_args

    @wraps(original)
    def lenient(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
        for action in self._actions:
            action.required = False
            if not action.option_strings and action.nargs in (None, "+"):
                action.nargs = "?" if action.nargs is None else "*"
        for group in self._mutually_exclusive_groups:
            group.required = False
        return original(self, *args, **kwargs)

    argparse.ArgumentParser.parse_known_args = lenient  # type: ignore[method-assign]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]


def _imported(job: Job, level: int) -> ModuleType:
    _first_on_path(os.getcwd())
    if job.module is not None:
        return _dotted_module(job.module)
    assert job.path is not None
    path = Path(job.path)
    sys.argv = [str(path)]
    package = _package(path, level)
    if package is None:
        return _standalone(path)
    try:
        return _in_package(path, *package)
    except LoadError:
        # The package may fail for reasons of its own; a file that does not lean on it can do without.
        if level:
            raise
        return _standalone(path)


def _dotted_module(name: str) -> ModuleType:
    sys.argv = [name]
    with foreign(ErrorKind.IMPORT, "importing it failed", _HINT):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise LoadError(
                ErrorKind.IMPORT,
                f"there is no module named {error.name!r}",
                "run dropcheck from the directory that holds it, install it, or name the file: path/to/file.py:Symbol",
            ) from error


def _package(path: Path, level: int) -> tuple[Path, int] | None:
    """The directory above the outermost package the file belongs to, and how many packages lie between.

    None for a file on its own.
    """
    depth, directory = 0, path.parent
    while (directory / "__init__.py").exists() and directory != directory.parent:
        depth, directory = depth + 1, directory.parent
    while depth < level and directory != directory.parent:
        depth, directory = depth + 1, directory.parent
    return (directory, depth) if depth else None


def _in_package(path: Path, root: Path, depth: int) -> ModuleType:
    """Imports the file as a submodule, its packages first; directories without ``__init__.py`` count as packages."""
    directories = [path.parents[index] for index in reversed(range(depth))]
    _first_on_path(str(root))
    sys.path.append(str(path.parent))  # for scripts that import their neighbours by bare name
    name = ""
    with foreign(ErrorKind.IMPORT, "its package cannot be imported", _HINT, str(path)):
        for directory in directories:
            name = f"{name}.{_identifier(directory.name)}".lstrip(".")
            _import_package(name, directory)
    if path.name == "__init__.py":
        return sys.modules[name]
    return _executed(f"{name}.{_identifier(path.stem)}", path)


def _import_package(name: str, directory: Path) -> None:
    present = sys.modules.get(name)
    if present is not None and str(directory) in getattr(present, "__path__", ()):
        return
    if present is not None:
        raise ImportError(f"a package named {name!r} is loaded already, from elsewhere")
    file = directory / "__init__.py"
    if file.exists():
        _executed(name, file, package=True)
        return
    package = ModuleType(name)
    package.__path__ = [str(directory)]
    sys.modules[name] = package


def _standalone(path: Path) -> ModuleType:
    _first_on_path(str(path.parent))
    name = _identifier(path.stem)
    if name in sys.modules or name in sys.stdlib_module_names or name == "__main__":
        name = f"linted_{name}"
    return _executed(name, path)


def _executed(name: str, path: Path, *, package: bool = False) -> ModuleType:
    """The module made by running the file, registered under ``name``; the one registered already if it is this file."""
    present = sys.modules.get(name)
    if present is not None and getattr(present, "__file__", None) == str(path):
        return present
    spec = _spec(name, path, package)
    module = module_from_spec(spec)
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    try:
        with foreign(ErrorKind.IMPORT, "importing it failed", _HINT, str(path)):
            assert spec.loader is not None
            spec.loader.exec_module(module)
    except LoadError:
        sys.modules.pop(name, None)
        raise
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)
    return sys.modules[name]


def _spec(name: str, path: Path, package: bool) -> ModuleSpec:
    spec = spec_from_loader(name, SourceFileLoader(name, str(path)), is_package=package)
    assert spec is not None
    if package:
        spec.submodule_search_locations = [str(path.parent)]
    return spec


def _first_on_path(directory: str) -> None:
    sys.path[:] = [directory, *(entry for entry in sys.path if entry != directory)]


def _identifier(name: str) -> str:
    """A module name for a file or directory: dots would be read as packages."""
    return re.sub(r"[.\s]", "_", name) or "root"
