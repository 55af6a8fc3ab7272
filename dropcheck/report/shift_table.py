"""Measured shifts for people at a terminal, and as JSON beside what linting says of the same model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from math import floor, isfinite, log10
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dropcheck.report import render
from dropcheck.report.layout import hanging
from dropcheck.report.wording import delta_text, json_text, one_line, op_text, place, plural, share_text, visible
from dropcheck.result import ModelReport, Report
from dropcheck.rule import Finding, Severity
from dropcheck.table import OFF, SYNTHETIC, MeasuredNorm, ShiftTable

_TONE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
_NARROWEST = 60
_UNKNOWN = "–"
_MOST_NAMES = 4
_DELTA = (
    "Δ: variance at the norm's input with dropout off, divided by that with dropout on (± standard error). "
    "Shift ratio: how many times the running variance differs from the former; mean shift: how far the running mean is "
    "off, in standard deviations (Li et al. 2019, section 4). Harmless are Δ = 1, ratio 1 and mean shift 0."
)
_RECALIBRATED = (
    "Δ: variance at the norm's input with dropout off, divided by the running variance; 1 is harmless. "
    "Mean shift: how far the running mean is off, in standard deviations; 0 is harmless."
)


def as_json(report: Report, table: ShiftTable | None) -> str:
    """The report of linting with what was measured at its norms, and the whole table as ``measurement``."""
    document: dict[str, Any] = json.loads(render(report, "json"))
    document["measurement"] = None if table is None else json.loads(table.to_json())
    return json_text(document)


def as_text(report: Report, table: ShiftTable, *, color: bool = False, width: int = 80) -> str:
    """The measured shifts of one model beside those predicted, and lint's findings with both."""
    model = _model(report)
    blocks: list[list[RenderableType]] = [[_heading(model, table)], [_probed(table)]]
    console = _console(color, width)
    blocks += [[*_remarks(console, table), *_notes(console, table)], [*_told(console, "", _DELTA)]]
    found = [line for finding in report.findings for line in _finding(console, finding, table)]
    if found:
        blocks.append([Text("Findings of lint, predicted and measured:", "bold"), *found])
    judged = () if table.data == SYNTHETIC else _mispredicted(console, table)
    blocks.append([*judged, _worst(table)])
    return _printed(console, blocks)


def recalibrated_text(
    table: ShiftTable, source: str, target: str | None, *, color: bool = False, width: int = 80
) -> str:
    """What recalibration changed; ``target``: the file that was written, None for none."""
    console = _console(color, width)
    result = f"written to {one_line(target)}" if target is not None else "interrupted, and nothing was written"
    heading = Text.assemble((one_line(source), "bold"), f" recalibrated on {_data(table)}: {result}")
    blocks: list[list[RenderableType]] = [[heading], [_before_and_after(table)]]
    notes = _notes(console, table) if table.complete else ()
    blocks += [[*_remarks(console, table), *notes], [*_told(console, "", _RECALIBRATED)]]
    return _printed(console, blocks)


def _console(color: bool, width: int) -> Console:
    return Console(
        file=StringIO(),
        width=max(width, _NARROWEST),
        color_system="standard" if color else None,
        force_terminal=color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )


def _printed(console: Console, blocks: Iterable[Sequence[RenderableType]]) -> str:
    with console.capture() as capture:
        for number, block in enumerate(block for block in blocks if block):
            if number:
                console.print()
            for line in block:
                console.print(line)
    lines = [line.rstrip() for line in capture.get().rstrip().splitlines()]
    return "".join(f"{line}\n" for line, before in zip(lines, ["x", *lines], strict=False) if line or before)


def _model(report: Report) -> ModelReport | None:
    return next(iter(model for model in report.models if not model.by_design), None)


def _heading(model: ModelReport | None, table: ShiftTable) -> Text:
    call = "" if model is None or not model.arguments or "(" in model.target else f"({model.arguments})"
    name = "" if model is None else visible(model.target + call)
    weights = "" if model is None or model.weights is None else f" with {one_line(model.weights)}"
    heading = Text.assemble((name, "bold"), f"{weights}, measured on " if name else "Measured on ", _data(table))
    return heading if table.complete else Text("Interrupted, so far: ", "bold yellow") + heading


def _data(table: ShiftTable) -> str:
    where = table.device + (" with autocast" if table.amp else "")
    several = f" by {table.processes} processes" if table.processes > 1 else ""
    amount = f"{plural(table.samples, 'sample')} in {plural(table.batches, 'batch').replace('batchs', 'batches')}"
    return f"{one_line(table.data) or 'data'} ({amount} on {where}{several})"


def _probed(table: ShiftTable) -> Table:
    evidence = sorted({str(norm.evidence) for norm in table if norm.evidence is not None})
    drawn = _empty(f"predicted Δ\n({', '.join(evidence)})" if evidence else "predicted Δ", "measured Δ")
    for heading in ("shift\nratio", "mean\nshift"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    attributed = any(norm.sources for norm in table)
    if attributed:
        drawn.add_column("dropouts to blame", overflow="fold")
    for norm in table:
        off = table.data != SYNTHETIC and norm.prediction_error is not None and norm.prediction_error > OFF
        cells = (
            Text(_number(norm.predicted), "yellow" if off else ""),
            Text(_with_error(norm.delta, norm.delta_error)),
            Text(_number(norm.shift_ratio)),
            Text(_decimals(norm.mean_shift)),
        )
        drawn.add_row(_name(norm), *cells, *([_blame(norm)] if attributed else []))
    return drawn


def _before_and_after(table: ShiftTable) -> Table:
    if not any(norm.after is not None for norm in table):
        drawn = _empty("Δ", "mean\nshift")
        for norm in table:
            drawn.add_row(_name(norm), _number(norm.delta_before), _decimals(norm.mean_shift))
        return drawn
    drawn = _empty("Δ\nbefore", "\nafter", "mean shift\nbefore", "\nafter")
    for norm in table:
        after = norm.after
        deltas = map(_number, (norm.delta_before, norm.delta_after))
        drawn.add_row(_name(norm), *deltas, *map(_decimals, (norm.mean_shift, after.mean_shift if after else None)))
    return drawn


def _empty(*headings: str) -> Table:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("batch norm", overflow="fold", vertical="top")
    for heading in headings:
        drawn.add_column(heading, justify="right", no_wrap=True)
    return drawn


def _name(norm: MeasuredNorm) -> Text:
    return Text(one_line(norm.name) or "(the model)")


def _blame(norm: MeasuredNorm) -> Text:
    return Text(", ".join(f"{one_line(one.dropout)} {share_text(one.share)}" for one in norm.sources))


def _number(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return delta_text(value) if isfinite(value) else "∞"


def _decimals(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}" if isfinite(value) else "∞"


def _with_error(value: float | None, error: float | None) -> str:
    """``0.424 ± 0.003``: the error with one digit, and the value with as many decimals, two to four."""
    if value is None or error is None or not isfinite(value):
        return _number(value)
    decimals = 2 if error <= 0.0 else min(max(2, -floor(log10(error))), 4)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _remarks(console: Console, table: ShiftTable) -> Iterator[Text]:
    """Each remark once, with the norms it is about."""
    about: dict[str, list[str]] = {}
    for norm in table:
        if norm.remark:
            about.setdefault(norm.remark, []).append(one_line(norm.name))
    for remark, names in about.items():
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        yield from _told(console, "", f"{', '.join(names[:_MOST_NAMES])}{more}: {remark}")


def _notes(console: Console, table: ShiftTable) -> Iterator[Text]:
    for note in table.notes:
        yield from _told(console, "note: ", note)


def _told(console: Console, head: str, text: str) -> Iterator[Text]:
    yield from hanging(console, Text(head, "bold"), Text(one_line(text)))


def _finding(console: Console, finding: Finding, table: ShiftTable) -> Iterator[Text]:
    known = {norm.name: norm for norm in table}
    norm = known.get(finding.norm or "")
    way = " → ".join(op_text(name) for name in (finding.op, finding.norm) if name is not None)
    numbers = ""
    if finding.delta is not None:
        measured = "not measured" if norm is None else f"measured {_with_error(norm.delta, norm.delta_error)}"
        whole = finding.delta if norm is None or norm.predicted is None else norm.predicted
        # A finding's Δ is what its own dropout does; what can be measured at the norm is what all of them do.
        alone = "" if delta_text(whole) == delta_text(finding.delta) else f", {delta_text(finding.delta)} by it alone"
        basis = "" if finding.evidence is None else f" ({finding.evidence}{alone})"
        numbers = f": predicted Δ {delta_text(whole)}{basis}, {measured}"
    kind = (f"{finding.code} {finding.severity}", _TONE[finding.severity])
    text = Text.assemble(f"{place(finding.site)} ", kind, f" {one_line(way + numbers)}")
    yield from hanging(console, Text("  "), text)


def _mispredicted(console: Console, table: ShiftTable) -> Iterator[Text]:
    """Which predictions were wrong, and by how much."""
    judged = [norm for norm in table if norm.prediction_error is not None]
    if not judged:
        return
    off = table.mispredicted()
    if not off:
        which = f"All {len(judged)} predictions" if len(judged) > 1 else "The one prediction"
        yield Text(f"{which} within {OFF:.0%} of what was measured.")
        return
    named = ", ".join(
        f"{one_line(norm.name)} by {norm.prediction_error:.0%} ({_number(norm.predicted)}, not {_number(norm.delta)})"
        for norm in off
    )
    head = f"Off by more than {OFF:.0%}, {len(off)} of {plural(len(judged), 'prediction')}: "
    yield from hanging(console, Text(), Text.assemble((head, "yellow"), named))


def _worst(table: ShiftTable) -> Text:
    worst = table.worst
    if worst is None:
        return Text("No shift could be measured.", "bold")
    ratios = f"Δ {_number(worst.delta)}, shift ratio {_number(worst.shift_ratio)}"
    return Text(f"Worst of {plural(len(table), 'batch norm')}: {one_line(worst.name)}, {ratios}.", "bold")
