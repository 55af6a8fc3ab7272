"""How long the rules take on graphs of growing depth: building the graph, prediction, rules. Prints Markdown.

Run from the root of the repository:

    python -m tests.benchmarks.rules
"""

from __future__ import annotations

import copy
import gc
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph, Node
from dropcheck.rule import Rule, Subject, Thresholds
from dropcheck.rules import BUILTIN
from dropcheck.shift import predict

from .blocks import PreActivation, conv
from .command import deliver, parser
from .tables import markdown

DEPTHS = (25, 100, 200, 400, 800)
RATES = (0.3, 0.5)
_WIDTH = 12

_HEAD = """# Time of the rules

Processor time of one core in ms; medians of {runs} runs, for the rules also the best. The graphs were captured before,
each run begins with a new one. "residual" is a pre-activation network with dropout ahead of the second convolution of
every block, "plain" a chain of convolution, batch norm, ReLU and dropout. Depth is the number of convolutions: with
"100 layers" some mean 100 operations, which is depth 25, some 100 weight layers, which is depth 100 and 400 operations.
Drop rates of .5 make one or two findings a dropout. "rules" are the {count} that are on by default. The same core adds
the numbers below 100,000 one by one in {reference:.2f} ms. Made by

    python -m tests.benchmarks.rules
"""

ON = tuple(rule for rule in BUILTIN if rule.on_by_default)


class Timing(NamedTuple):
    """Milliseconds of one run, and how much the rules found."""

    build: float
    predict: float
    rules: float
    findings: int


def residual(depth: int, rate: float) -> nn.Sequential:
    blocks = [PreActivation(_WIDTH, _WIDTH, 1, "b", rate, "relu") for _ in range(depth // 2 - 1)]
    return nn.Sequential(conv(3, _WIDTH), *blocks, conv(_WIDTH, _WIDTH), nn.BatchNorm2d(_WIDTH), nn.ReLU())


def plain(depth: int, rate: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(depth):
        inputs = _WIDTH if number else 3
        layers += [conv(inputs, _WIDTH), nn.BatchNorm2d(_WIDTH), nn.ReLU(), nn.Dropout(rate)]
    return nn.Sequential(*layers)


def captured(model: nn.Module) -> tuple[Node, ...]:
    twin = copy.deepcopy(model.train())
    return capture(model, [ExampleInput((torch.zeros(2, 3, 8, 8),), given=True)], twin=lambda: twin).graph.nodes


def timed(nodes: tuple[Node, ...], rules: Sequence[Rule] = ON) -> Timing:
    """One run over a graph that nobody has asked anything yet."""
    start = time.process_time()
    graph = Graph(nodes)
    built = time.process_time()
    shifts = predict(graph)
    predicted = time.process_time()
    subject = Subject("benchmark", graph, shifts, Thresholds())
    findings = [finding for rule in rules for finding in rule.check(subject)]
    done = time.process_time()
    return Timing(*(1e3 * span for span in (built - start, predicted - built, done - predicted)), len(findings))


def by_rule(nodes: tuple[Node, ...], runs: int) -> dict[str, float]:
    """Median milliseconds of each rule, in the order of a run: the first to ask a question pays for its answer."""
    spans: dict[str, list[float]] = {}
    for _ in range(runs):
        graph = Graph(nodes)
        subject = Subject("benchmark", graph, predict(graph), Thresholds())
        for rule in ON:
            start = time.process_time()
            list(rule.check(subject))
            spans.setdefault(rule.code, []).append(1e3 * (time.process_time() - start))
    return {code: statistics.median(times) for code, times in spans.items()}


def row(name: str, nodes: tuple[Node, ...], runs: int) -> list[str]:
    timed(nodes)  # what is remembered for the next model of a run counts as the run's
    gc.collect()
    timings = [timed(nodes) for _ in range(runs)]
    medians = [statistics.median(one) for one in zip(*(timing[:3] for timing in timings), strict=True)]
    best = min(timing.rules for timing in timings)
    return [name, str(len(nodes)), str(timings[0].findings), *(f"{span:.2f}" for span in (*medians, best))]


def reference(runs: int) -> float:
    """Median milliseconds that adding the numbers below 100,000 takes."""
    spans = []
    for _ in range(runs):
        start = time.process_time()
        sum(range(100_000))
        spans.append(1e3 * (time.process_time() - start))
    return statistics.median(spans)


def main(arguments: Sequence[str] | None = None) -> None:
    known = parser("rules", __doc__)
    known.add_argument("--runs", type=int, default=21, help="of each graph (default 21)")
    options = known.parse_args(arguments)
    rows, slowest = [], []
    for kind in (residual, plain):
        for rate in RATES:
            for depth in DEPTHS:
                nodes = captured(kind(depth, rate))
                name = f"{kind.__name__}, {depth} convolutions, rate {rate}"
                rows.append(row(name, nodes, options.runs))
                if depth in (DEPTHS[1], DEPTHS[-1]):
                    slowest.append(_slowest(name, by_rule(nodes, options.runs)))
    head = ("network", "operations", "findings", "graph", "prediction", "rules", "rules, best")
    said = _HEAD.format(runs=options.runs, count=len(ON), reference=reference(options.runs))
    text = "\n".join([said, markdown(head, rows), "The slowest rules, medians:", "", *slowest, ""])
    deliver(text, options.output)


def _slowest(name: str, spans: dict[str, float]) -> str:
    ranked = sorted(spans.items(), key=lambda item: item[1], reverse=True)[:5]
    return f"- {name}: " + ", ".join(f"{code} {span:.2f}" for code, span in ranked)


if __name__ == "__main__":
    main()
