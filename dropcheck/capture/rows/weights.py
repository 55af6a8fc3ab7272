"""Rows of the layers that sum with learned weights, and of learned tables."""

from __future__ import annotations

from dropcheck import ops
from dropcheck.capture.calls import Call, Value
from dropcheck.capture.rows.reading import Row, as_rate, product, tensor
from dropcheck.ops import Op


def convolution(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    kernel = product(layer.kernel_size)  # type: ignore[arg-type]
    inputs = int(layer.in_channels) // int(layer.groups)  # type: ignore[arg-type]
    if layer.transposed:
        # One output position meets only every stride-th kernel entry.
        kernel = max(1, kernel // product(layer.stride))  # type: ignore[arg-type]
    return ops.Weight(call.kind, inputs * kernel or None, int(layer.out_channels), kernel)  # type: ignore[arg-type]


def linear(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    return ops.Weight(call.kind, int(layer.in_features) or None, int(layer.out_features))  # type: ignore[arg-type]


def bilinear(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    fan_in = int(layer.in1_features) * int(layer.in2_features)  # type: ignore[arg-type]
    return ops.Weight(call.kind, fan_in, int(layer.out_features))  # type: ignore[arg-type]


def recurrent(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    layers = int(getattr(layer, "num_layers", 1))
    rate = as_rate(getattr(layer, "dropout", 0.0)) if layers > 1 else 0.0
    return ops.Recurrent(call.kind, int(layer.input_size), layers, rate)  # type: ignore[arg-type]


def functional_convolution(transposed: bool) -> Row:
    def row(call: Call) -> Op:
        weight = tensor(call, 1, "weight")
        shape = None if weight is None else weight.shape
        if shape is None or len(shape) < 3:
            return ops.Weight(call.kind, None)
        groups = (
            int(call.argument(6, "groups", 1)) if transposed or not isinstance(call.argument(6, "groups"), Value) else 1
        )
        kernel = product(shape[2:])
        if transposed:
            return ops.Weight(call.kind, shape[0] // groups * kernel, shape[1] * groups, kernel)
        return ops.Weight(call.kind, shape[1] * kernel, shape[0], kernel)

    return row


def functional_linear(call: Call) -> Op:
    weight = tensor(call, 1, "weight")
    shape = None if weight is None else weight.shape
    return ops.Weight(call.kind, shape[-1] if shape else None, shape[0] if shape and len(shape) > 1 else None)


def functional_recurrent(call: Call) -> Op:
    """The functions behind the recurrent layers take …, num_layers, dropout, train, …, all by position."""
    args = call.args
    if call.target.endswith("_cell") or len(args) < 8:
        return ops.Recurrent(call.kind, None)
    layers = 4 if isinstance(args[3], bool) else 5  # a packed sequence brings its batch sizes along
    rate = as_rate(args[layers + 1]) if args[layers] > 1 and args[layers + 2] else 0.0
    return ops.Recurrent(call.kind, None, int(args[layers]), rate)


def embedding(call: Call) -> Op:
    layer = call.module
    return ops.Lookup(call.kind, None if layer is None else int(layer.embedding_dim))  # type: ignore[arg-type]
