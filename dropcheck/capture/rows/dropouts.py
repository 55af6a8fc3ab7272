"""Rows of what drops: dropout layers and functions, and attention with its dropout inside."""

from __future__ import annotations

from collections.abc import Sequence

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.rows.reading import Row, as_rate
from dropcheck.ops import Granularity, Op


def dropout(granularity: Granularity, alpha: bool = False) -> Row:
    """torch's own dropouts: the drop rate is ``p`` of a layer, argument 1 of a function."""

    def row(call: Call) -> Op:
        rate = call.argument(1, "p", 0.5) if call.module is None else call.module.p
        base = call.target if call.module is not None and call.kind != call.target else ""
        return ops.Dropout(call.kind, as_rate(rate), granularity, alpha, base)

    return row


def foreign_dropout(granularity: Granularity, attributes: Sequence[str]) -> Row:
    """Another library's dropout layer: the drop rate is the first of ``attributes`` it has, if that is a number."""

    def row(call: Call) -> Op:
        rate = next(getattr(call.module, name) for name in attributes if hasattr(call.module, name))
        try:
            return ops.Dropout(call.kind, as_rate(rate), granularity)
        except (TypeError, ValueError, RuntimeError):  # a schedule, or a tensor without memory
            return ops.Opaque(call.kind)

    return row


def attention(call: Call) -> Op:
    layer = call.module
    if layer is not None:
        return ops.Attention(call.kind, int(layer.embed_dim), as_rate(layer.dropout))  # type: ignore[arg-type]
    position = 4 if call.target == "scaled_dot_product_attention" else 10
    return ops.Attention(call.kind, drop_rate=as_rate(call.argument(position, "dropout_p", 0.0)))
