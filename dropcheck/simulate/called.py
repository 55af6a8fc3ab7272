"""One call of a torch function while a model runs, and what it is in the catalogue's terms."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from torch import Tensor

from dropcheck import ops
from dropcheck.capture.calls import Call, Value, training_argument
from dropcheck.capture.catalogue import function_row
from dropcheck.capture.names import plain_name, writes_its_argument
from dropcheck.capture.tensors import tensors_in


@dataclass(frozen=True)
class Called:
    """A function with its arguments; ``node`` is the node of the captured graph that it belongs to."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    node: str

    def run(self) -> Any:
        return as_asked(self.func, self.args, self.kwargs)

    @cached_property
    def kind(self) -> str:
        """The function's plain name."""
        return plain_name(self.func)

    @cached_property
    def op(self) -> ops.Op | None:
        """What it does; None where only names change or the catalogue has no row."""
        row = function_row(self.kind)
        return None if row is None else row(self._described)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor among the arguments."""
        return tuple(tensors_in([self.args, self.kwargs]))

    @property
    def is_on(self) -> bool:
        """Whether a functional dropout is told that the model trains."""
        return bool(training_argument(self._described))

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers and does nothing else."""
        return isinstance(self.op, ops.Constant) and self.op.random

    @cached_property
    def writes(self) -> bool:
        """Whether it changes its first argument: ``relu_``, ``+=``, ``F.relu(x, inplace=True)``."""
        if writes_its_argument(self.func):
            return True
        position = _inplace_position(self.func)
        given = self.args[position] if position is not None and len(self.args) > position else None
        return given is True or self.kwargs.get("inplace") is True

    @cached_property
    def _described(self) -> Call:
        kwargs = {name: _described(value) for name, value in self.kwargs.items()}
        return Call(self.kind, "", tuple(map(_described, self.args)), kwargs)


def as_asked(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The call as the model made it: what it raises is the model's."""
    return func(*args, **kwargs)


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return Value(0, tuple(argument.shape))
    if isinstance(argument, list | tuple):
        return tuple(map(_described, argument))
    return argument


@cache
def _inplace_position(func: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(func).parameters)
    except (TypeError, ValueError):  # builtins have none
        return None
    return names.index("inplace") if "inplace" in names else None
