"""The functions behind the catalogue's rows: one call → one operation.

A row reads what the call says (arguments, shapes, the layer's attributes) and nothing else. A row may return None:
the result is then the first tensor argument under another name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dropcheck import ops
from dropcheck.capture.calls import Call, Value
from dropcheck.ops import Granularity, Op, Reduce

Row = Callable[[Call], Op | None]


def product(numbers: Sequence[int]) -> int:
    return math.prod(int(number) for number in numbers)


def as_rate(number: Any) -> float:
    """A drop rate as written: None and False mean no dropout."""
    return float(number) if number is not None else 0.0


def tensor(call: Call, position: int, name: str) -> Value | None:
    """The tensor at an argument position, if there is one."""
    value = call.argument(position, name)
    return value if isinstance(value, Value) else None


def input_shape(call: Call) -> tuple[int, ...] | None:
    first = next(call.tensors(), None)
    return None if first is None else first.shape


def spatial(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes behind batch and channels."""
    return () if shape is None else shape[2:]


# Weight layers ----------------------------------------------------------------------------------------------------


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


# Norms ------------------------------------------------------------------------------------------------------------


def batch_norm(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    tracks = getattr(layer, "running_var", None) is not None
    channels = int(getattr(layer, "num_features", 0)) or None
    affine = getattr(layer, "weight", None) is not None
    return ops.BatchNorm(call.kind, channels, tracks, affine, float(getattr(layer, "eps", 1e-5)))


def frozen_batch_norm(call: Call) -> Op:
    """A batch norm whose statistics are constants: it only scales."""
    return ops.Scale(call.kind)


def instance_norm(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    return batch_norm(call) if layer.track_running_stats else ops.LocalNorm(call.kind)


def functional_batch_norm(call: Call) -> Op:
    running = tensor(call, 2, "running_var") or tensor(call, 4, "running_var")
    channels = running.shape[0] if running is not None and running.shape else None
    return ops.BatchNorm(call.kind, channels, tracks=running is not None, affine=tensor(call, 3, "weight") is not None)


def functional_instance_norm(call: Call) -> Op:
    stored = tensor(call, 2, "running_var") is not None and not call.argument(5, "use_input_stats", True)
    return functional_batch_norm(call) if stored else ops.LocalNorm(call.kind)


def local_norm(call: Call) -> Op:
    return ops.LocalNorm(call.kind)


# Dropout ----------------------------------------------------------------------------------------------------------


def dropout(granularity: Granularity, alpha: bool = False) -> Row:
    """torch's own dropouts: the drop rate is ``p`` of a layer, argument 1 of a function."""

    def row(call: Call) -> Op:
        rate = call.argument(1, "p", 0.5) if call.module is None else call.module.p
        return ops.Dropout(call.kind, as_rate(rate), granularity, alpha)

    return row


def foreign_dropout(granularity: Granularity, attributes: Sequence[str]) -> Row:
    """Another library's dropout layer: the drop rate is the first of ``attributes`` it has."""

    def row(call: Call) -> Op:
        rate = next(getattr(call.module, name) for name in attributes if hasattr(call.module, name))
        return ops.Dropout(call.kind, as_rate(rate), granularity)

    return row


def attention(call: Call) -> Op:
    layer = call.module
    if layer is not None:
        return ops.Attention(call.kind, int(layer.embed_dim), as_rate(layer.dropout))  # type: ignore[arg-type]
    position = 4 if call.target == "scaled_dot_product_attention" else 10
    return ops.Attention(call.kind, drop_rate=as_rate(call.argument(position, "dropout_p", 0.0)))


# Pointwise --------------------------------------------------------------------------------------------------------


def activation(kind: str) -> Row:
    def row(call: Call) -> Op:
        slope = getattr(call.module, "negative_slope", None)
        if call.module is None and kind == "leaky_relu":
            slope = call.argument(1, "negative_slope", 0.01)
        return ops.Activation(kind, None if slope is None else float(slope))

    return row


def clamp(call: Call) -> Op:
    low, high = call.argument(1, "min"), call.argument(2, "max")
    return ops.Activation("relu") if low == 0 and high is None else ops.Activation("hardtanh")


def maximum(call: Call) -> Op:
    return ops.Activation("maximum")


# Pooling and reductions -------------------------------------------------------------------------------------------


def pool(reduce: Reduce) -> Row:
    """A pooling layer or function, by its shapes where they are known, else by its kernel."""

    def row(call: Call) -> Op:
        before, after = spatial(input_shape(call)), spatial(call.shape)
        size = call.argument(1, "kernel_size", call.argument(1, "output_size"))
        if call.module is not None:
            size = getattr(call.module, "kernel_size", getattr(call.module, "output_size", None))
        adaptive = "adaptive" in call.target.lower()
        axes = 3 if "3" in call.target else 2 if "2" in call.target else 1
        sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * axes
        if before and after:
            is_global = product(after) == 1 and (adaptive or product(before) > 1)
            # An adaptive pool may also enlarge: each output then takes in one position.
            shared = max(1, product(before) // max(1, product(after)))
            per_window = shared if adaptive or is_global else _kernel_area(sizes)
            return ops.Pool(reduce, per_window, is_global)
        if adaptive:
            return ops.Pool(reduce, None, all(item == 1 for item in sizes))
        return ops.Pool(reduce, _kernel_area(sizes))

    return row


def _kernel_area(sizes: Sequence[Any]) -> int | None:
    return product(sizes) if all(isinstance(item, int) for item in sizes) else None


def reduction(reduce: Reduce | None) -> Row:
    """mean, amax, sum … along axes: a pooling when the axes are positions, a statistic of other axes otherwise."""

    def row(call: Call) -> Op:
        shape = input_shape(call)
        axes = call.argument(1, "dim", call.argument(1, "axis"))
        if isinstance(axes, int) and not isinstance(axes, bool):
            axes = (axes,)
        if reduce is None or not isinstance(axes, (tuple, list)) or not all(isinstance(axis, int) for axis in axes):
            return ops.Statistic(call.target)
        if shape is None:
            # Without shapes only the usual spelling of a global pool over N×C×H×W can be told.
            is_pool = set(axes) in ({2, 3}, {-1, -2}, {2, 3, 4}, {-1, -2, -3})
            return ops.Pool(reduce, None, is_global=True) if is_pool else ops.Statistic(call.target)
        rank = len(shape)
        reduced = {axis % rank for axis in axes}
        positions = set(range(2, rank))
        channels_last = set(range(1, rank - 1))
        window = product([shape[axis] for axis in reduced])
        if rank >= 3 and reduced in (positions, channels_last):
            return ops.Pool(reduce, window, is_global=True)
        if rank >= 4 and reduced < positions:
            return ops.Pool(reduce, window)
        return ops.Statistic(call.target)

    return row


def extremum(call: Call) -> Op:
    """max and min: of two tensors elementwise, of one along an axis."""
    if sum(1 for _ in call.tensors()) > 1:
        return ops.Activation("maximum")
    return reduction(Reduce.MAX if call.target in {"max", "amax"} else None)(call) or ops.Statistic(call.target)


# Arithmetic -------------------------------------------------------------------------------------------------------


def matrix_product(call: Call) -> Op:
    """A product with a parameter is a weight layer; lowering tells the two apart by what depends on the input."""
    return ops.MatMul()


def resample(call: Call) -> Op:
    mode = call.module.mode if call.module is not None else call.argument(3, "mode", "nearest")
    kind = str(mode)
    return ops.Rearrange(kind) if kind.startswith("nearest") else ops.Resample(kind)


def constant(random: bool) -> Row:
    def row(call: Call) -> Op:
        return ops.Constant(random)

    return row


def of_kind(kind: Callable[[str], Op]) -> Row:
    """The operation ``kind(call.target)``: for kinds that only carry a name."""

    def row(call: Call) -> Op:
        return kind(call.target)

    return row


def fixed(op: Op) -> Row:
    def row(call: Call) -> Op:
        return op

    return row


def same(call: Call) -> None:
    """The result is the argument itself."""
    return
