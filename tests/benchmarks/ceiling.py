"""What keeps predictions from the measured shifts: the data nobody has, or the method. Prints Markdown.

Run from the root of the repository:

    python -m tests.benchmarks.ceiling --cache FOLDER --output tests/benchmarks/CEILING.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn

from dropcheck.capture import ExampleInput
from dropcheck.simulate import masked_copies
from dropcheck.simulate.synthetic import Synthetic

from . import aside, shift
from .command import deliver, parser
from .data import augmented
from .nets import ASIDE, NAMES
from .shift import captured, compared, measured, predicted
from .tables import Comparison, joined, markdown, percent, quantile
from .training import Trained, trained

_AGAIN = 77
"""Seed of the second measurement."""

_WAYS = ("predicted", "on data", "measured again")


@dataclass(frozen=True, slots=True)
class Row:
    """One network: Δ as predicted, as predicted with training samples for input, and measured a second time."""

    name: str
    ways: tuple[Comparison, Comparison, Comparison]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("ceiling", __doc__, cache=True).parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for names, seed in ((NAMES, shift.SEED), (ASIDE, aside.SEED)):
        for name in names:
            rows.append(compare(trained(name, seed, options.cache)))
            sys.stderr.write(f"{name} compared\n")
    text = report(rows)
    deliver(text, options.output)


def compare(net: Trained) -> Row:
    graph = captured(net.model, ExampleInput((net.data.inputs[:2],), given=True))
    truth = measured(net)
    alone = predicted(net, graph)
    with training_samples(net):
        helped = predicted(net, graph)
    again = measured(net, _AGAIN)
    return Row(net.name, (compared(alone, truth), compared(helped, truth), compared(again, truth)))


@contextmanager
def training_samples(net: Trained) -> Iterator[None]:
    """Inside, the predictor is given training samples where it would match synthetic ones to the statistics."""
    torch.manual_seed(0)
    samples = augmented(net.data.inputs)[torch.randperm(len(net.data.inputs))]

    def given(model: nn.Module, synthetic: Synthetic, *_: Any) -> Synthetic:
        return synthetic.with_main(samples[: synthetic.batch].clone())

    with mock.patch.object(masked_copies, "matched", given):
        yield


def report(rows: Sequence[Row]) -> str:
    head = ("network", "norms", *(f"{figure}, {way}" for figure in ("median", "Spearman") for way in _WAYS))
    return f"""# What keeps predictions from measured shifts

The networks of RESULTS.md and ASIDE.md; made by

    python -m tests.benchmarks.ceiling

Three times the difference from the measured Δ: as predicted from code and state dict alone; as the same predictor has
it if training samples take the place of its synthetic input ("on data"); and measured a second time, with other masks
and augmentations. What the second way mends is owed to not knowing the data. What remains is mostly that running
statistics are averages over a few batches: evaluation divides by them, training does not.

{markdown(head, [_cells(row) for row in rows])}
{_summary(rows)}
"""


def _cells(row: Row) -> list[str]:
    medians = (percent(way.median) for way in row.ways)
    ranks = ("" if way.spearman is None else f"{way.spearman:.2f}" for way in row.ways)
    return [row.name, str(len(row.ways[0].errors)), *medians, *ranks]


def _summary(rows: Sequence[Row]) -> str:
    """A line for each of the three ways."""
    lines = []
    for place, way in enumerate(_WAYS):
        every = [row.ways[place] for row in rows]
        whole = joined(every)
        ranked = [one.spearman for one in every if one.spearman is not None]
        lines.append(
            f"- {way}: median {percent(whole.median)}, 90th percentile {percent(quantile(whole.errors, 0.9))}, worst "
            f"norm {percent(whole.worst)}, worst network's median {percent(max(one.median for one in every))}; "
            f"Spearman below .95 on {sum(rank < 0.95 for rank in ranked)} of {len(ranked)} networks."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
