"""Rows of pointwise functions, of interpolation, and of everything that only carries a name."""

from __future__ import annotations

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.rows.reading import Row
from dropcheck.ops import Op


def activation(kind: str) -> Row:
    def row(call: Call) -> Op:
        slope = getattr(call.module, "negative_slope", None)
        if call.module is None and kind == "leaky_relu":
            slope = call.argument(1, "negative_slope", 0.01)
        return ops.Activation(kind, None if slope is None else float(slope))

    return row


_FAR = 3.0
"""A bound that few activations reach: few lie that many standard deviations out."""


def clamp(call: Call) -> Op:
    """By the bounds that can be felt: one below is a ReLU's, two are a hard tanh's; far ones guard and do nothing."""
    low, high = call.argument(1, "min"), call.argument(2, "max")
    below = isinstance(low, int | float) and low > -_FAR
    above = isinstance(high, int | float) and high < _FAR
    return ops.Activation("hardtanh" if below and above else "relu" if below else "clamp")


def maximum(call: Call) -> Op:
    return ops.Activation("maximum")


def resample(call: Call) -> Op:
    mode = call.module.mode if call.module is not None else call.argument(3, "mode", "nearest")
    kind = str(mode)
    return ops.Rearrange(kind) if kind.startswith("nearest") else ops.Resample(kind)


def constant(random: bool) -> Row:
    def row(call: Call) -> Op:
        return ops.Constant(random)

    return row


def bernoulli(call: Call) -> Op:
    """Random, unless the probability is one of 0 and 1."""
    return ops.Constant(random=call.argument(1, "p") not in (0, 1))


def fixed(op: Op) -> Row:
    def row(call: Call) -> Op:
        return op

    return row


def same(call: Call) -> None:
    """The result is the argument itself."""
    return
