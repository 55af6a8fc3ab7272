"""How much memory predicting takes on top of the model's own: the peak in a fresh process. Linux only."""

from __future__ import annotations

import copy
import ctypes
import gc
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph
from dropcheck.simulate.masked_copies import predict_from_weights

_MEGABYTE = 1024.0  # kB, which is what /proc counts in


# Small itself: a process counts what the one that started it held at that moment.
_LAUNCHER = """
import os, sys
_, status, usage = os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)
print()
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""

Made = tuple[Callable[[], nn.Module], tuple[int, ...]]
"""What makes a model with its statistics settled, and the shape of its input."""


def extra(made: Made, before: Made | None = None) -> tuple[float, float]:
    """Megabytes of the parameters, and how far predicting from weights drives a process above what it held before.

    The process is fresh, but for one prediction for ``before``: torch's libraries take their share only once.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_extra, (made, before))


def peak(command: Sequence[str]) -> float:
    """The most megabytes that one process of ``command`` held. Findings are no error; other exit codes raise."""
    run = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1):
        raise RuntimeError(run.stderr)
    return float(run.stdout.splitlines()[-1]) / _MEGABYTE


def _extra(made: Made, before: Made | None) -> tuple[float, float]:
    torch.set_num_threads(1)
    if before is not None:
        predict_from_weights(*_captured(before))
    model, graph, example = _captured(made)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is no longer counted
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # nor is the peak so far
    held = _status("VmRSS")
    predict_from_weights(model, graph, example)
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return parameters / 1024.0 / _MEGABYTE, (_status("VmHWM") - held) / _MEGABYTE


def _captured(made: Made) -> tuple[nn.Module, Graph, ExampleInput]:
    build, shape = made
    model, example = build(), ExampleInput((torch.randn(shape),), given=True)
    return model, capture(copy.deepcopy(model), [example], twin=lambda: copy.deepcopy(model)).graph, example


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(field)))
