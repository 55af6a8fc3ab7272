"""How long predicting takes: against depth, on a network of ResNet-50's size, and a whole lint. Prints Markdown.

Run from the root of the repository:

    python -m tests.benchmarks.speed
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture
from dropcheck.shift import predict
from dropcheck.simulate.masked_copies import predict_from_weights

from .blocks import PreActivation, conv
from .command import deliver, parser
from .memory import extra, peak
from .resnet50 import resnet50
from .tables import markdown

T = TypeVar("T")

DEPTHS = (100, 200, 400, 800)
_LINT = (sys.executable, "-m", "dropcheck", "lint")
_EXAMPLE = Path("examples/wide_resnet.py")
_RESNET50 = Path("tests/benchmarks/resnet50.py")
_IMAGE = (2, 3, 224, 224)
_SMALL = (2, 3, 16, 16)

_HEAD = """# Time

Processor time of one core; every network takes 2 samples of its input. Made by

    python -m tests.benchmarks.speed
"""

# What nobody who looks at a model can do without: import torch and the file, build, trace.
_LEAST_WORK = """
import runpy, sys, torch
made = runpy.run_path(sys.argv[1])[sys.argv[2]]
with torch.device("meta"):
    model = made()
torch.fx.symbolic_trace(model)
"""


def residual(depth: int) -> nn.Sequential:
    """A pre-activation network of ``depth`` convolutions in one stage, 12 channels wide."""
    blocks = [PreActivation(12, 12, 1, "b", 0.3, "relu") for _ in range(depth // 2 - 1)]
    return nn.Sequential(conv(3, 12), *blocks, conv(12, 12), nn.BatchNorm2d(12), nn.ReLU())


def main(arguments: Sequence[str] | None = None) -> None:
    known = parser("speed", __doc__)
    known.add_argument("--runs", type=int, default=5, help="of each command, alternating (default 5)")
    options = known.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [timed(f"residual, {depth} convolutions", residual(depth), _SMALL) for depth in DEPTHS]
    rows.append(timed("ResNet-50 with dropout", resnet50(), _IMAGE))
    head = ("network", "norms", "capture, s", "prior, s", "weights, s")
    text = f"{_HEAD}\n{markdown(head, rows)}\n{memory()}\n\n{lint_ratio(options.runs)}\n"
    deliver(text, options.output)


def timed(name: str, model: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Seconds on one core to capture a model, and to predict from its code and from its (settled) weights."""
    example = ExampleInput((torch.randn(shape),), given=True)
    settle(model, shape)
    twin = copy.deepcopy(model.train())
    capturing, captured = clocked(lambda: capture(model, [example], twin=lambda: twin))
    prior, shifts = clocked(lambda: predict(captured.graph))
    weights, _ = clocked(lambda: predict_from_weights(model, captured.graph, example))
    return [name, str(len(shifts.norms)), *(f"{seconds:.2f}" for seconds in (capturing, prior, weights))]


@torch.no_grad()
def settle(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Running statistics as of a network that has seen data: those of a fresh one say that it was never trained."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(torch.randn(8, *shape[1:-2], *(min(side, 64) for side in shape[-2:])))


def clocked(work: Callable[[], T], clock: Callable[[], float] = time.process_time) -> tuple[float, T]:
    start = clock()
    result = work()
    return clock() - start, result


def settled_resnet50() -> nn.Sequential:
    model = resnet50()
    settle(model, _IMAGE)
    return model


def settled_residual() -> nn.Sequential:
    model = residual(6)
    settle(model, _SMALL)
    return model


def memory() -> str:
    """Peaks on the ResNet-50: of the command, and of the predictor in a process that holds the model."""
    fresh, again = (extra((settled_resnet50, _IMAGE), before) for before in (None, (settled_residual, _SMALL)))
    held, more = again
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pt"
        torch.save(settled_resnet50().state_dict(), weights)
        lint = peak([*_LINT, f"{_RESNET50}:resnet50", "--weights", str(weights), "--input", "x".join(map(str, _IMAGE))])
    above = lint - peak([sys.executable, "-c", "import torch"])
    return (
        f"`dropcheck lint` of the ResNet-50 with `--weights`, model included, peaks {above:.0f} MB above importing "
        f"torch: {above / held:.2f} times the {held:.0f} MB of parameters. In a process that holds the model already, "
        f"predicting takes {more:.0f} MB on top ({(held + more) / held:.2f} times), and {fresh[1]:.0f} MB "
        f"({(held + fresh[1]) / held:.2f} times) if it is the first time: torch's libraries take their share once, "
        f"and the C library keeps what was freed."
    )


def lint_ratio(runs: int) -> str:
    """Wall time of ``dropcheck lint`` against importing torch and the file, building on meta and tracing."""
    lint = [*_LINT, str(_EXAMPLE)]
    least = [sys.executable, "-c", _LEAST_WORK, str(_EXAMPLE), "WideResNet"]
    seconds: dict[str, list[float]] = {"lint": [], "least": []}
    for _ in range(runs):
        for name, command in (("lint", lint), ("least", least)):
            taken, run = clocked(
                partial(subprocess.run, command, capture_output=True, text=True, check=False), time.perf_counter
            )
            if run.returncode not in (0, 1):
                sys.exit(run.stderr)
            seconds[name].append(taken)
    one, other = (statistics.median(values) for values in seconds.values())
    return (
        f"`dropcheck lint {_EXAMPLE}`: {one:.2f} s; importing torch and the file, building on meta and tracing: "
        f"{other:.2f} s; ratio {one / other:.2f} (medians of {runs} alternating runs)."
    )


if __name__ == "__main__":
    main()
