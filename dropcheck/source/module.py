"""Where the source of a module lies, found without importing anything."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def file_of_module(name: str) -> Path | None:
    """The .py file that ``import name`` would run, as far as directories tell; None for anything else.

    The working directory comes first, as it does where models are built. What an import hook finds, or a package that
    changes its own search path, may lie elsewhere.
    """
    top, *inner = name.split(".")
    spec = PathFinder.find_spec(top, [os.getcwd(), *sys.path])
    if spec is None:
        return None
    if not inner:
        return _python(Path(spec.origin or ""))
    places = [Path(one).joinpath(*inner) for one in spec.submodule_search_locations or ()]
    files = (file for place in places for file in (place / "__init__.py", place.with_name(f"{place.name}.py")))
    return next(filter(_python, files), None)


def _python(file: Path) -> Path | None:
    return file if file.suffix == ".py" and file.is_file() else None
