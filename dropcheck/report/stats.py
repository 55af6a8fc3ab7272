"""The weight layers of models as a table or JSON: cos²θ and d·cos²θ, as in Li et al. 2019, Table 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from io import StringIO
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dropcheck import __version__
from dropcheck.report.wording import json_text, left_out, one_line, plural, visible
from dropcheck.result import ModelReport, Report
from dropcheck.shift.stats import LayerStatistics, MeanStatistics, mean_statistics

_TRAINED = "Li et al. 2019, Table 1, has cos²θ of 0.014 to 0.035 and d·cos²θ of 2.6 to 52.7 for trained networks."
_UNTRAINED = "weights at initialisation, where d·cos²θ ≈ 1 whatever the width; give trained ones with --weights FILE"
_NARROWEST = 40


def as_json(report: Report) -> str:
    """Version 1: ``models`` with their ``layers``, the ``mean`` over all and over the convolutions, and ``errors``."""
    return json_text(
        {
            "version": 1,
            "tool": {"name": "dropcheck", "version": __version__},
            "models": [_model(model) for model in report.models],
            "errors": [
                {"path": error.path, "kind": error.kind, "message": error.message, "hint": error.hint}
                for error in report.errors
            ],
        }
    )


def _model(model: ModelReport) -> dict[str, Any]:
    return {
        "target": model.target,
        "status": model.status,
        "reason": model.reason,
        "arguments": model.arguments,
        "weights": model.weights,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "d": layer.fan_in,
                "filters": layer.filters,
                "cos2_theta": layer.cos2_theta,
                "d_cos2_theta": layer.d_cos2_theta,
            }
            for layer in model.layers
        ],
        "mean": _mean(model.layers),
        "mean_convolutions": _mean(_convolutions(model.layers)),
    }


def _mean(layers: Iterable[LayerStatistics]) -> dict[str, Any] | None:
    mean = mean_statistics(layers)
    return None if mean is None else asdict(mean)


def as_text(report: Report, *, color: bool = False, width: int = 80) -> str:
    """A table for each model; what could not be analysed is left to the caller."""
    console = Console(
        file=StringIO(),
        width=max(width, _NARROWEST),
        color_system="standard" if color else None,
        force_terminal=color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    with console.capture() as capture:
        for model in report.analysed:
            console.print(*_shown(model), "", sep="\n")
        for model in left_out(report):
            console.print(Text(f"{visible(model.target)} {model.status}: {one_line(model.reason or '')}"))
    lines = capture.get().rstrip().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines)


def _shown(model: ModelReport) -> Iterator[RenderableType]:
    call = "" if model.arguments is None or "(" in model.target else f"({model.arguments})"
    source = _UNTRAINED if model.weights is None else f"weights of {one_line(model.weights)}"
    yield Text.assemble((visible(model.target + call), "bold"), f": {source}")
    yield _table(model.layers) if model.layers else Text("no weight layers")
    if model.reason is not None:
        yield Text(one_line(model.reason))
    if model.weights is not None and model.layers:
        yield Text(_TRAINED)


def _table(layers: tuple[LayerStatistics, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_footer=False, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("kind", overflow="fold")
    for heading in ("d", "filters", "cos²θ", "d·cos²θ"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        numbers = (str(layer.fan_in), str(layer.filters), _number(layer.cos2_theta, 4), _number(layer.d_cos2_theta, 2))
        table.add_row(Text(one_line(layer.name)), Text(layer.kind), *numbers)
    table.add_section()
    convolutions = _convolutions(layers)
    for mean, what in ((mean_statistics(layers), "layer"), (mean_statistics(convolutions), "convolution")):
        if mean is not None and (what == "layer" or len(convolutions) < len(layers)):
            table.add_row(*_mean_row(mean, what), style="bold")
    return table


def _mean_row(mean: MeanStatistics, what: str) -> tuple[str, ...]:
    means = (_number(mean.cos2_theta, 4), _number(mean.d_cos2_theta, 2))
    return (f"mean of {plural(mean.layers, what)}", "", "", "", *means)


def _convolutions(layers: Iterable[LayerStatistics]) -> list[LayerStatistics]:
    return [layer for layer in layers if layer.convolution]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
