"""What a running call of torch is, in the catalogue's terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from dropcheck import ops
from dropcheck.capture.calls import Call, Value
from dropcheck.capture.catalogue import function_row
from dropcheck.capture.names import plain_name
from dropcheck.capture.record import training_argument


def operation(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> ops.Op | None:
    """The operation that a call stands for; None where only names change or the catalogue has no row."""
    name = plain_name(func)
    row = function_row(name)
    return None if row is None else row(_call(name, args, kwargs))


def is_on(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a functional dropout is told that the model trains."""
    return bool(training_argument(_call(plain_name(func), args, kwargs)))


def _call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    return Call(name, "", tuple(map(_described, args)), {key: _described(value) for key, value in kwargs.items()})


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return Value(0, tuple(argument.shape))
    if isinstance(argument, list | tuple):
        return tuple(map(_described, argument))
    return argument
