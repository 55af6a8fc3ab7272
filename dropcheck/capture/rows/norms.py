"""Rows of the normalisations."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.rows.reading import tensor
from dropcheck.ops import Op


def batch_norm(call: Call) -> Op:
    layer = call.module
    assert layer is not None
    tracks = getattr(layer, "running_var", None) is not None
    channels = int(getattr(layer, "num_features", 0)) or _length(getattr(layer, "running_var", None))
    affine = getattr(layer, "weight", None) is not None
    return ops.BatchNorm(call.kind, channels, tracks, affine, float(getattr(layer, "eps", 1e-5)))


def _length(statistics: Any) -> int | None:
    return len(statistics) if isinstance(statistics, Tensor) and statistics.dim() else None


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
