"""Measured shifts as HTML, for notebooks."""

from __future__ import annotations

from html import escape
from math import isfinite

from dropcheck.table import MeasuredNorm, ShiftTable

_LEFT = ' style="text-align: left"'


def as_html(table: ShiftTable) -> str:
    """One table, a row per norm; every name escaped. Columns in which nothing is known are left out."""
    rows = [_row(norm) for norm in table]
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if any(row[name] for row in rows)]
    head = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td{_LEFT}>{escape(row[name])}</td>" for name in columns) + "</tr>" for row in rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f"<table><caption>{escape(_caption(table))}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _caption(table: ShiftTable) -> str:
    so_far = "" if table.complete else "interrupted, so far: "
    return f"{so_far}{table.batches} batches, {table.samples} samples of {table.data} on {table.device}"


def _row(norm: MeasuredNorm) -> dict[str, str]:
    return {
        "norm": norm.name,
        "kind": norm.kind,
        "Δ predicted": _number(norm.predicted),
        "Δ measured": _with_error(norm.delta, norm.delta_error),
        "running var": _number(norm.moving_var, 4),
        "var in evaluation": _number(norm.real_var, 4),
        "shift ratio": _number(norm.shift_ratio),
        "shift ratio after": _number(None if norm.after is None else norm.after.shift_ratio),
        "mean shift": _number(norm.mean_shift),
        "dropouts": ", ".join(f"{one.dropout} {one.share:.0%}" for one in norm.sources),
        "remark": norm.remark or "",
    }


def _with_error(value: float | None, error: float | None) -> str:
    return _number(value) if error is None else f"{_number(value)} ± {error:.1g}"


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return ""
    return f"{value:#.{digits}g}" if isfinite(value) else "∞"
