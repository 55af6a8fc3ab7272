"""Predicted against measured shifts on small networks trained for the purpose. Prints Markdown.

Run from the root of the repository:

    python -m tests.benchmarks.shift --cache FOLDER --output tests/benchmarks/RESULTS.md
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph, Node
from dropcheck.shift import LayerStatistics, predict
from dropcheck.shift.stats import MeanStatistics, mean_statistics
from dropcheck.simulate.masked_copies import predict_from_weights
from dropcheck.simulate.stats import layer_statistics

from . import measuring
from .command import deliver, parser
from .nets import NAMES
from .tables import Comparison, joined, markdown, percent, quantile, rank_correlation
from .training import Trained, trained

SEED = 20
HEAD = ("network", "accuracy", "norms", "measured Δ", "median", "worst", "Spearman", "seconds")
_PAIR_SAMPLES = 720
_PASSES = {"mlp": 24}  # over the data, while measuring: one value per sample and channel needs more of them
_LI = {"cos²θ": (0.0139, 0.0355), "d·cos²θ": (2.60, 52.7)}  # Li et al. 2019, Table 1, least and greatest


@dataclass(frozen=True, slots=True)
class Pair:
    """A dropout and the first norm it reaches: Δ if no other dropout were there, from code alone and measured."""

    dropout: str
    norm: str
    prior: float
    measured: float


@dataclass(frozen=True, slots=True)
class Row:
    """One network: evidence ``weights`` at every norm, evidence ``prior`` at its first pairs."""

    name: str
    accuracy: float
    weights: Comparison
    seconds: float
    pairs: tuple[Pair, ...]
    agreement: MeanStatistics


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    names = [name for name in NAMES if fnmatch.fnmatch(name, options.nets)]
    if not names:
        sys.exit(f"no network matches {options.nets!r}; there are {', '.join(NAMES)}")
    rows = []
    for name in names:
        rows.append(compare(trained(name, options.seed, options.cache)))
        sys.stderr.write(_cells(rows[-1])[0] + " compared\n")
    text = report(rows, _command(options))
    deliver(text, options.output)


def compare(net: Trained) -> Row:
    """Measure Δ at every batch norm of a trained network, and predict it from its weights and from its code."""
    inputs = net.data.inputs
    graph = captured(net.model, ExampleInput((inputs[:2],), given=True))
    weights, seconds = weighed(net, graph)
    agreement = mean_statistics(convolutions(layer_statistics(net.model, graph)))
    assert agreement is not None
    first = tuple(pairs(net.model, graph, inputs[:_PAIR_SAMPLES]))
    return Row(net.name, net.accuracy, weights, seconds, first, agreement)


def weighed(net: Trained, graph: Graph) -> tuple[Comparison, float]:
    """Evidence ``weights`` against what is measured, and the seconds that predicting took."""
    start = time.process_time()
    found = predicted(net, graph)
    seconds = time.process_time() - start
    return compared(found, measured(net)), seconds


def predicted(net: Trained, graph: Graph) -> dict[str, float]:
    """Evidence ``weights``: Δ of every norm by module path."""
    found = predict_from_weights(net.model, graph, ExampleInput((net.data.inputs[:2],), given=True))
    known = {graph[name].path: shift.delta for name, shift in found.norms.items() if shift.delta is not None}
    unknown = [graph[name].path for name, shift in found.norms.items() if shift.delta is None]
    if unknown:
        raise ValueError(f"{net.name}: no shift is predicted at {', '.join(unknown)}")
    return known


def measured(net: Trained, seed: int = measuring.SEED) -> dict[str, float]:
    """Δ of every norm by module path, with augmentation and masks drawn from ``seed``."""
    passes = next((passes for family, passes in _PASSES.items() if net.name.startswith(family)), 4)
    return measuring.shifts(net.model, net.data.inputs, passes, seed)


def compared(found: Mapping[str, float], truth: Mapping[str, float]) -> Comparison:
    return Comparison(tuple(found[path] for path in truth), tuple(truth.values()))


def convolutions(layers: Sequence[LayerStatistics]) -> Sequence[LayerStatistics]:
    """What Li et al. average over; all layers of a network that has none."""
    return [layer for layer in layers if layer.convolution] or layers


def captured(model: nn.Module, example: ExampleInput) -> Graph:
    twin = copy.deepcopy(model)
    return capture(copy.deepcopy(model).train(), [example], twin=lambda: twin).graph


def pairs(model: nn.Module, graph: Graph, inputs: torch.Tensor) -> Iterator[Pair]:
    """Every dropout with the first norm that its noise reaches."""
    first = [(node, reached[0]) for node in graph if node.drops and (reached := graph.norms_reached(node))]
    alone = measuring.shifts_of_one(model, inputs, [dropout.path for dropout, _ in first])
    shifts = predict(graph).norms
    for dropout, norm in first:
        prior = next(source.delta for source in shifts[norm.name].sources if source.dropout == dropout.name)
        yield Pair(_place(dropout), _place(norm), prior, alone[dropout.path][norm.path])


def report(rows: Sequence[Row], command: str) -> str:
    every = [pair for row in rows for pair in row.pairs]
    prior = Comparison(tuple(pair.prior for pair in every), tuple(pair.measured for pair in every))
    agreements = [_agreement(row) for row in rows]
    listed = [_pair(row, pair) for row in rows for pair in row.pairs]
    return f"""# Predicted against measured shifts

{len(rows)} networks trained on scikit-learn's digits (16×16) or on synthetic series; made by

    {command}

Measured: Δ at every batch norm by the three steps of Li et al. 2019, section 4, on training data. Predicted: evidence
`weights`, from code and state dict alone. Errors are relative; Spearman is over a network's norms where Δ spans more
than .1; seconds are processor time. Names say where dropout stands (a: right before a norm, b: a weight layer between,
d: right behind the weight layer), the drop rate and the activation.
The last two columns are of evidence `prior`, from the code alone: dropouts, each with the first norm it reaches (Δ if
it were the only dropout), and the median relative error there. Networks of other shapes and seeds: ASIDE.md.

{markdown((*HEAD, "pairs", "prior"), [_cells(row) for row in rows])}
{summary([(row.name, row.weights) for row in rows])}

Evidence `prior`, {len(every)} pairs: Spearman {rank_correlation(prior.predicted, prior.measured):.2f}, \
median error {percent(prior.median)}, 90th percentile {percent(quantile(prior.errors, 0.9))}, \
worst pair {percent(prior.worst)}.

## How far weights agree

As `dropcheck stats` tells: means over a network's convolutions (an MLP's linear layers). Li et al. 2019, Table 1,
found cos²θ of {_LI["cos²θ"][0]} to {_LI["cos²θ"][1]} and d·cos²θ of {_LI["d·cos²θ"][0]:.1f} to {_LI["d·cos²θ"][1]} \
in networks that are far wider. Random weights
have cos²θ = 1/d and d·cos²θ = 1: few inputs make the one large and keep the other small.

{markdown(("network", "layers", "cos²θ", "in Li's range", "d·cos²θ", "in Li's range"), agreements)}
## First pairs

{markdown(("network", "dropout", "norm", "measured Δ", "prior"), listed)}"""


def _cells(row: Row) -> list[str]:
    prior = Comparison(tuple(pair.prior for pair in row.pairs), tuple(pair.measured for pair in row.pairs))
    told = cells_of(row.name, row.accuracy, row.weights, row.seconds)
    return [*told, str(len(row.pairs)), percent(prior.median) if row.pairs else ""]


def cells_of(name: str, accuracy: float, weights: Comparison, seconds: float) -> list[str]:
    """The cells of HEAD for one network."""
    return [
        name,
        f"{accuracy:.3f}",
        str(len(weights.errors)),
        f"{min(weights.measured):.2f} … {max(weights.measured):.2f}",
        percent(weights.median),
        percent(weights.worst),
        "" if weights.spearman is None else f"{weights.spearman:.2f}",
        f"{seconds:.1f}",
    ]


def summary(named: Sequence[tuple[str, Comparison]]) -> str:
    """Evidence ``weights`` over all norms of the networks."""
    everywhere = joined([weights for _, weights in named])
    name, worst = max(named, key=lambda one: one[1].median)
    return (
        f"Evidence `weights`, {len(everywhere.errors)} norms: median error {percent(everywhere.median)}, "
        f"90th percentile {percent(quantile(everywhere.errors, 0.9))}, worst norm {percent(everywhere.worst)}, "
        f"worst network's median {percent(worst.median)} ({name})."
    )


def _pair(row: Row, pair: Pair) -> list[str]:
    return [row.name, pair.dropout, pair.norm, f"{pair.measured:.3f}", f"{pair.prior:.3f}"]


def _agreement(row: Row) -> list[str]:
    one = row.agreement
    cells = [row.name, str(one.layers)]
    for figure, value in (("cos²θ", one.cos2_theta), ("d·cos²θ", one.d_cos2_theta)):
        least, greatest = _LI[figure]
        place = "yes" if least <= value <= greatest else "below" if value < least else "above"
        cells += [f"{value:.4f}" if figure == "cos²θ" else f"{value:.2f}", place]
    return cells


def _place(node: Node) -> str:
    return node.path or node.name


def _command(options: argparse.Namespace) -> str:
    chosen = "" if options.nets == "*" else f" --nets '{options.nets}'"
    return f"python -m tests.benchmarks.shift{chosen} --seed {options.seed}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = parser("shift", __doc__, cache=True)
    known.add_argument("--nets", metavar="PATTERN", default="*", help="only networks whose name matches, as mlp-*")
    known.add_argument("--seed", type=int, default=SEED, help=f"of initialisation and training (default {SEED})")
    return known.parse_args(arguments)


if __name__ == "__main__":
    main()
