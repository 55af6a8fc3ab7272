"""How much memory predicting takes on top of the model's own: the peak in a fresh process. Linux only."""

from __future__ import annotations

import copy
import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture
from dropcheck.simulate.masked_copies import predict_from_weights

_MEGABYTE = 1024.0  # kB, which is what /proc counts in


def extra(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[float, float]:
    """Megabytes of the parameters, and how far predicting from weights drives the process above what it held before.

    ``build`` makes the model with its statistics settled; it is called in the fresh process.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_extra, (build, shape))


def _extra(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[float, float]:
    torch.set_num_threads(1)
    model = build()
    example = ExampleInput((torch.randn(shape),), given=True)
    graph = capture(copy.deepcopy(model), [example], twin=lambda: copy.deepcopy(model)).graph
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is no longer counted
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # nor is the peak so far
    before = _status("VmRSS")
    predict_from_weights(model, graph, example)
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return parameters / 1024.0 / _MEGABYTE, (_status("VmHWM") - before) / _MEGABYTE


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field)))
