"""Predicted against measured shifts on networks set aside: other shapes, drop rates and seeds than the benchmark's.

Run from the root of the repository:

    python -m tests.benchmarks.aside --cache FOLDER --output tests/benchmarks/ASIDE.md
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from dropcheck.capture import ExampleInput

from .command import deliver, parser
from .data import augmented
from .nets import ASIDE
from .shift import HEAD, captured, cells_of, summary, weighed
from .tables import Comparison, markdown, percent
from .training import BATCH, Trained, trained

SEED = 77


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("aside", __doc__, cache=True).parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    whole = []
    for name in ASIDE:
        net = trained(name, SEED, options.cache)
        weights, seconds = _weighed(net)
        whole.append((name, weights))
        rows.append([*cells_of(name, net.accuracy, weights, seconds), *_when_settled(net)])
    text = report(rows, summary(whole))
    deliver(text, options.output)


def report(rows: Sequence[Sequence[str]], whole: str) -> str:
    return f"""# Predicted against measured shifts, on networks set aside

As in RESULTS.md, on {len(rows)} networks of other widths, depths, drop rates and seeds; made by

    python -m tests.benchmarks.aside

No constant of the predictor is fitted to one of them; four choices were compared on them, too: how the tails of
vectors are cut, how far few samples are matched and that they are blended into more, how often a unit is expected to
fire that did not of late, and how many samples a norm scales at once.
Perceptrons give each unit one value per sample: their running averages are rough, and where a unit hardly ever fires
its running variance has died away since it last did. A checkpoint tells how long ago that was, but not what evaluation
meets then. The last two columns are the errors of the same weights with statistics over all training data.

{markdown((*HEAD, "median, settled", "worst, settled"), rows)}
{whole}
"""


def _when_settled(net: Trained) -> list[str]:
    if not net.name.startswith("mlp"):
        return ["", ""]
    weights, _ = _weighed(replace(net, model=settled(net)))
    return [percent(weights.median), percent(weights.worst)]


def _weighed(net: Trained) -> tuple[Comparison, float]:
    return weighed(net, captured(net.model, ExampleInput((net.data.inputs[:2],), given=True)))


@torch.no_grad()
def settled(net: Trained, passes: int = 8) -> nn.Sequential:
    """The network with running statistics that are plain means over the training data, dropout on."""
    model = copy.deepcopy(net.model).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None
    for _ in range(passes):
        for batch in torch.split(augmented(net.data.inputs)[torch.randperm(len(net.data.inputs))], BATCH):
            model(batch)
    return model.eval()


if __name__ == "__main__":
    main()
