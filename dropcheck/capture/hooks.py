"""Which forward hooks are part of what a model computes, and so of a copy of it, and which look on from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from types import FunctionType, MethodType
from typing import Any

from torch import nn

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_FIXED = (str, int, float, bool, type(None), type)


def own_hooks(model: nn.Module) -> Callable[[Any], bool]:
    """A test for hooks that are part of ``model``.

    Methods of its modules are, as the modules of a copy have their own. So are functions that a library puts on models
    of its own, unless they hold on to something that running a copy could change.
    """
    modules = list(model.modules())
    parts = {id(module) for module in modules}
    packages = {_package(type(module)) for module in modules}

    def is_own(hook: Any) -> bool:
        if isinstance(hook, MethodType):
            return id(hook.__self__) in parts
        if not isinstance(hook, FunctionType) or _package(hook) not in packages:
            return False
        return not _INSTALLED.isdisjoint(PurePath(hook.__code__.co_filename).parts) and _is_fixed(hook)

    return is_own


def _package(named: Any) -> str:
    return str(named.__module__).partition(".")[0]


def _is_fixed(value: Any) -> bool:
    """Whether a value, or all that a function has around it, cannot be changed."""
    if isinstance(value, FunctionType):
        return all(_is_fixed(cell.cell_contents) for cell in value.__closure__ or ())
    return isinstance(value, _FIXED)
