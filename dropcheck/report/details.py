"""What ``--verbose`` adds for each model: how it was built and captured, and every norm and dropout in it."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dropcheck.report.layout import Block, field, headed
from dropcheck.report.wording import delta_text, one_line, op_text, plural, share_text, symbol_of, visible
from dropcheck.result import ModelReport, NormReport, Status

_CAPTURE = {"fx": "captured by symbolic tracing", "record": "captured in a recorded run", "source": "read as source"}


def details(console: Console, model: ModelReport) -> Block:
    """One model in full; of one that is part of another, only where it was analysed."""
    target = visible(model.target)
    if model.status is not Status.ANALYSED:
        return list(headed(console, target, model.status, "dim", model.reason or ""))
    block: Block = list(headed(console, target, "analysed", "bold green", _how(model)))
    block += field(console, "built", call_of(model))
    block += field(console, "lacks", f"{', '.join(model.without)}, which it does not need" if model.without else "")
    if model.norms or model.dropouts:
        block.append(Padding(_layers(model), (0, 0, 0, 2)))
    return block


def _how(model: ModelReport) -> str:
    how = None if model.capture is None else _CAPTURE[model.capture]
    given = None if model.input is None else f"input {model.input}"
    weights = None if model.weights is None else f"weights {model.weights}"
    evidence = None if model.evidence is None else f"evidence {model.evidence}"
    facts = (how, given, weights, plural(model.ops, "operation"), evidence)
    return ", ".join(fact for fact in facts if fact is not None)


def call_of(model: ModelReport) -> str:
    """The call that builds a model, as far as it is known."""
    symbol = symbol_of(model.target)
    return symbol if model.arguments is None or "(" in symbol else f"{symbol}({model.arguments})"


def _layers(model: ModelReport) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(4):
        table.add_column(overflow="fold")
    for norm in model.norms:
        sources = ", ".join(f"{one_line(op_text(blame.dropout))} {share_text(blame.share)}" for blame in norm.sources)
        table.add_row(Text(one_line(op_text(norm.name))), Text(one_line(norm.kind)), _delta(norm), Text(sources))
    for dropout in model.dropouts:
        rate = Text(f"drop rate {dropout.drop_rate:g}")
        table.add_row(Text(one_line(op_text(dropout.name))), Text(one_line(dropout.kind)), rate, Text())
    return table


def _delta(norm: NormReport) -> Text:
    predicted = "not judged" if norm.delta is None else f"Δ = {delta_text(norm.delta)}"
    measured = "" if norm.delta_measured is None else f", measured {delta_text(norm.delta_measured)}"
    return Text(predicted + measured)
