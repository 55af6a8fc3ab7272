"""Which classes are no models of their own: bases for others, and what has no layers."""

from __future__ import annotations

import ast
import inspect
from types import FunctionType

from torch import nn

from dropcheck.capture.code import names_in
from dropcheck.load.usage import parsed

_NOISY = ("drop", "norm", "bernoulli")
"""Words in what does to data without parameters what dropout and norms do."""

A_BASE = "a base for other classes"


def why_no_model(value: type[nn.Module]) -> str | None:
    """Why a class is no model by itself; None if it says what its forward is."""
    if inspect.isabstract(value) or value.forward is nn.Module.forward:
        return f"it defines no forward: {A_BASE}"
    forward = _method(value, "forward")
    left_open = getattr(forward, "__isabstractmethod__", False) or _is_left_open(forward)
    return f"its forward is left open: {A_BASE}" if left_open else None


def open_method(value: type) -> str | None:
    """A method that a class, after all that it inherits, leaves for others to write."""
    own = (base for base in value.__mro__ if not base.__module__.startswith(("torch.", "builtins", "abc")))
    names = dict.fromkeys(name for base in own for name in vars(base))
    return next((name for name in names if _is_left_open(_method(value, name))), None)


def has_no_layers(model: nn.Module) -> bool:
    """Whether nothing in a model has parameters, drops or normalises: it is a loss, a metric or a function of data."""
    if any(True for _ in model.parameters()):
        return False
    kinds: set[type] = {type(module) for module in model.modules()}
    words = {kind.__name__.lower() for kind in kinds} | {name.lower() for kind in kinds for name in names_in(kind)}
    return not any(noisy in word for noisy in _NOISY for word in words)


def _method(value: type, name: str) -> object:
    return inspect.getattr_static(value, name, None)


def _is_left_open(method: object) -> bool:
    """Whether a function is no more than its documentation and ``raise NotImplementedError``."""
    tree = parsed(method) if isinstance(method, FunctionType) else None
    if tree is None or not tree.body or not isinstance(tree.body[0], ast.FunctionDef):
        return False
    *before, last = tree.body[0].body
    documented = all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in before)
    return documented and isinstance(last, ast.Raise) and "NotImplementedError" in ast.unparse(last)
