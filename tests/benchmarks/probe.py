"""What probing costs beside the bare forwards it needs, and what recalibrating gives back. Prints Markdown.

Run from the root of the repository:

    python -m tests.benchmarks.probe --cache FOLDER --output tests/benchmarks/PROBE.md
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import dropcheck

from .command import deliver, parser
from .data import augmented
from .nets import pre_activation
from .resnet50 import resnet50
from .speed import settle
from .tables import markdown
from .training import accuracy, trained

SEED = 20
_BATCH = 128
_REPAIRED = ("maxpool-b-.3-relu", "dense-a-.5-relu", "preact-a-.5-relu")


def main(arguments: Sequence[str] | None = None) -> None:
    known = parser("probe", __doc__, cache=True)
    known.add_argument("--runs", type=int, default=5, help="of probe and of bare forwards, alternating (default 5)")
    known.add_argument("--seeds", type=int, default=3, help="networks of each kind to recalibrate (default 3)")
    options = known.parse_args(arguments)
    torch.set_num_threads(1)
    text = f"{_HEAD}\n{costs(options.runs)}\n{_REPAIR}\n{repairs(options.seeds, options.cache)}"
    deliver(text, options.output)


# Cost ----------------------------------------------------------------------------------------------------------------


def costs(runs: int) -> str:
    head = ("network", "batch", "bare, s", "probe, s", "ratio", "with --attribute, per dropout")
    small = pre_activation("b", 0.3, "relu", width=16, blocks=3)
    rows = [
        cost("ResNet-50 with dropout", resnet50(), (8, 3, 224, 224), runs),
        cost("ResNet of 20 layers", small, (64, 1, 32, 32), runs),
    ]
    return markdown(head, rows)


def cost(name: str, model: nn.Module, shape: tuple[int, ...], runs: int) -> list[str]:
    """Processor seconds for a batch: a forward in evaluation and one in training, bare and probed."""
    settle(model, shape)
    x = torch.randn(shape)
    bare, probed = [], []
    for _ in range(runs):
        bare.append(seconds(partial(both_forwards, model, x)))
        probed.append(seconds(partial(probe, model, x)))
    ratio = statistics.median(two / one for one, two in zip(bare, probed, strict=True))
    dropouts = sum(isinstance(module, nn.Dropout) for module in model.modules())
    some = dropouts <= 10
    attributed = seconds(partial(probe, model, x, attribute=True)) / statistics.median(bare) if some else None
    per_dropout = "" if attributed is None else f"{(attributed - ratio) / dropouts:.2f}"
    return [
        *(name, "x".join(map(str, shape)), f"{statistics.median(bare):.2f}", f"{statistics.median(probed):.2f}"),
        *(f"{ratio:.2f}", per_dropout),
    ]


@torch.no_grad()
def both_forwards(model: nn.Module, x: Tensor) -> None:
    model.eval()(x)
    model.train()(x)


def probe(model: nn.Module, x: Tensor, attribute: bool = False) -> None:
    dropcheck.probe(model, [x], predicted=False, attribute=attribute)


def seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


# Recalibration -------------------------------------------------------------------------------------------------------


def repairs(seeds: int, cache: Path | None) -> str:
    head = (
        "network",
        "trained",
        "mean and variance",
        "variance alone",
        "update_bn",
        "without dropout",
        "largest ratio",
    )
    rows = [repaired(name, SEED + seed, cache) for name in _REPAIRED for seed in range(seeds)]
    return markdown(head, rows)


def repaired(name: str, seed: int, cache: Path | None) -> list[str]:
    """Accuracies on held-out digits before and after; and of the same network trained without dropout."""
    family, case, _, activation = name.split("-")
    net, bare = trained(name, seed, cache), trained(f"{family}-{case}-.0-{activation}", seed, cache)
    torch.manual_seed(seed)
    batches = torch.split(torch.cat([augmented(net.data.inputs) for _ in range(3)]), _BATCH)[:-1]
    both, var, swa = deepcopy(net.model), deepcopy(net.model), deepcopy(net.model)
    table = dropcheck.recalibrate(both, batches)
    dropcheck.recalibrate(var, batches, stat="var")
    torch.optim.swa_utils.update_bn(batches, swa)
    worst = max(norm.shift_ratio or 0.0 for norm in table)
    accuracies = [net.accuracy, *(accuracy(model, net.data) for model in (both, var, swa)), bare.accuracy]
    return [f"{name}, seed {seed}", *(f"{one:.3f}" for one in accuracies), f"{worst:.2f}"]


_HEAD = """# Probing and recalibrating

Processor seconds of one core, median of the runs, probe and bare forwards alternating in one process. Bare: one forward
in evaluation and one in training, which is what a probe needs per batch.
"""
_REPAIR = """\
Test accuracies on scikit-learn's digits (360 held out) before and after recalibration on augmented training data, of
mean and variance both and of the variance alone; after `torch.optim.swa_utils.update_bn`, which leaves dropout on; and
of the same network trained without dropout. The last column is the largest max(real/moving, moving/real) before.
"""

if __name__ == "__main__":
    main()
