"""Functions with a dropout inside them: attention and recurrent layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F

from dropcheck.capture.names import plain_name

_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_ATTENTION = "multi_head_attention_forward"
_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


@dataclass(frozen=True, slots=True)
class Inner:
    """The arguments of the same call without its dropout."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def inner(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inner | None:
    """The call without the dropout inside it; None if it has none that is on."""
    name = plain_name(func)
    if name in _RECURRENT and len(args) > 8:
        # A packed sequence comes with its batch sizes in second place, which moves everything on by one.
        rate = 5 if isinstance(args[3], bool) else 6
        return _without(args, rate, kwargs) if args[rate] > 0.0 and args[rate + 1] else None
    if name == "scaled_dot_product_attention":
        if len(args) > 4:
            return _without(args, 4, kwargs) if args[4] > 0.0 else None
        return Inner(args, {**kwargs, "dropout_p": 0.0}) if kwargs.get("dropout_p", 0.0) > 0.0 else None
    if name == _ATTENTION:
        bound = _SIGNATURE.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        on = given["dropout_p"] > 0.0 and given["training"]
        return Inner((), {**given, "dropout_p": 0.0}) if on else None
    return None


def _without(args: tuple[Any, ...], position: int, kwargs: Mapping[str, Any]) -> Inner:
    return Inner((*args[:position], 0.0, *args[position + 1 :]), kwargs)
