"""Functions with a dropout inside them: attention and recurrent layers."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch.nn.functional as F

from dropcheck.simulate.called import Called

_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def without_dropout(call: Called) -> Called | None:
    """The call without the dropout inside it; None if it has none that is on."""
    if call.kind in _RECURRENT and len(call.args) > 8:
        # A packed sequence comes with its batch sizes in second place, which moves everything on by one.
        rate = 5 if isinstance(call.args[3], bool) else 6
        return _with(call, rate, 0.0) if call.args[rate] > 0.0 and call.args[rate + 1] else None
    if call.kind == "scaled_dot_product_attention":
        if len(call.args) > 4:
            return _with(call, 4, 0.0) if call.args[4] > 0.0 else None
        return replace(call, kwargs={**call.kwargs, "dropout_p": 0.0}) if call.kwargs.get("dropout_p", 0.0) else None
    if call.kind == "multi_head_attention_forward":
        bound = _SIGNATURE.bind(*call.args, **call.kwargs)
        bound.apply_defaults()
        given = bound.arguments
        on = given["dropout_p"] > 0.0 and given["training"]
        return replace(call, args=(), kwargs={**given, "dropout_p": 0.0}) if on else None
    return None


def _with(call: Called, position: int, argument: Any) -> Called:
    return replace(call, args=(*call.args[:position], argument, *call.args[position + 1 :]))
