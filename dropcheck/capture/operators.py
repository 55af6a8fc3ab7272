"""Operators that libraries define with ``torch.library``: many are Python inside, which a recorded run can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode

from dropcheck.capture.calls import Call, Value
from dropcheck.capture.catalogue import operation
from dropcheck.capture.tensors import tensors_in
from dropcheck.ops import Constant

_TORCH_S = frozenset({"aten", "prim", "prims"})


def is_foreign(target: Any) -> bool:
    """Whether a call's target is an operator that is not torch's own."""
    return isinstance(target, OpOverload | OpOverloadPacket) and _library(target) not in _TORCH_S


def called(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], watching: TorchFunctionMode
) -> Any:
    """What ``function`` gives; ``watching`` sees what a library's operator calls in turn.

    On tensors that are not plain ones in memory it does not: there, an operator may only say what shape its result
    would have.
    """
    overload = _only_overload(function) if is_foreign(function) else None
    tensors = list(tensors_in((args, kwargs))) if overload is not None else []
    if overload is None or not tensors or not all(map(_is_plain, tensors)):
        return function(*args, **kwargs)
    with watching:
        return overload.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs)


def is_computed(results: Iterable[Value], calls: Sequence[Call], since: int) -> bool:
    """Whether the calls from ``since`` on have computed all the results, not just set memory aside for them."""
    makers = [value.call for value in results]
    made = [calls[maker] for maker in makers if maker is not None and maker >= since]
    return 0 < len(made) == len(makers) and not any(isinstance(operation(call), Constant) for call in made)


def _library(target: OpOverload[..., Any] | OpOverloadPacket[..., Any]) -> str:
    return target.namespace if isinstance(target, OpOverload) else target._qualified_op_name.partition("::")[0]


def _only_overload(function: Any) -> OpOverload[..., Any] | None:
    if isinstance(function, OpOverload):
        return function
    names = function.overloads()
    return getattr(function, names[0]) if len(names) == 1 else None


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_quantized
