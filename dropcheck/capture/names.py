"""The plain name of a torch function, so that every spelling of an operation meets in one row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

_REFLECTED = {
    "radd": "add",
    "rmul": "mul",
    "rmatmul": "matmul",
    "rpow": "exp2",
    "rand": "and",
    "ror": "or",
    "rxor": "xor",
    "rtruediv": "rdiv",
    "rfloordiv": "floor_divide",
    "rmod": "remainder",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "inv": "invert",
    "not": "logical_not",
    "truediv": "div",
    "true_divide": "div",
    "sum_to_size": "sum",
}
_IN_PLACE_OPERATORS = ("add", "sub", "mul", "matmul", "div", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_PREFIXES = ("special_", "linalg_", "_sparse_")


@lru_cache(maxsize=4096)
def plain_name(function: Callable[..., Any]) -> str:
    """``relu`` for F.relu, torch.relu_, Tensor.relu_; ``add`` for ``+``, ``+=``, torch.add; ``T`` for the property."""
    name = _own_name(function)
    if "::" in name:
        return name
    if name == "__get__":
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    if name.startswith("__") and name.endswith("__"):
        return _operator(name.strip("_"))
    if getattr(function, "__module__", None) == "_operator":
        return _operator(name.rstrip("_"))
    name = name.rstrip("_") or name
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _own_name(function: Callable[..., Any]) -> str:
    """As it was defined; a library's operator in ``torch.ops`` with the library's name."""
    schema = getattr(function, "_schema", None)  # of one overload
    qualified = getattr(function, "_qualified_op_name", None) if schema is None else schema.name
    if isinstance(qualified, str):
        return qualified.removeprefix("aten::")
    return str(getattr(function, "__name__", type(function).__name__))


def _operator(name: str) -> str:
    if name[0] == "i" and name[1:] in _IN_PLACE_OPERATORS:
        name = name[1:]
    return _REFLECTED.get(name, name)


@lru_cache(maxsize=4096)
def writes_its_argument(function: Callable[..., Any]) -> bool:
    """Whether the function changes its first argument: ``add_``, ``+=``, ``x[i] = …``."""
    name = _own_name(function)
    bare = name.strip("_")
    if bare == "setitem":
        return True
    operator = name.startswith("__") or getattr(function, "__module__", None) == "_operator"
    if operator:
        return bare[:1] == "i" and bare[1:] in _IN_PLACE_OPERATORS
    return name.endswith("_") and not name.endswith("__")
