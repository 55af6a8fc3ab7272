"""Rows of pooling and of reductions along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.rows.reading import Row, input_shape, product, spatial
from dropcheck.ops import Op, Reduce


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
