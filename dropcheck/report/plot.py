"""Measured shifts as a picture, after Li et al. 2019, Figure 4. Needs matplotlib, the extra ``plot``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropcheck.output import drafted
from dropcheck.report.wording import one_line, plural
from dropcheck.rule import ratio
from dropcheck.table import MeasuredNorm, ShiftTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")

_MISSING = "drawing needs matplotlib: pip install 'dropcheck[plot]'"
_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"  # told apart by those who see few colours, too
_MOST_NAMES = 24
"""So many norms can be named below the axis; more are numbered."""
_LONGEST_NAME = 22
_SMALL = 40
"""Up to so many norms get a marker of full size."""


def check_drawable(file: str | os.PathLike[str]) -> None:
    """Finds out before the work whether :func:`draw` can write ``file``, as far as its name and matplotlib go.

    Raises:
        ValueError: its suffix is not one of SUFFIXES.
        ImportError: matplotlib is not there.
    """
    suffix = Path(file).suffix.lower()
    if suffix not in SUFFIXES:
        shown = f"ends in {suffix}" if suffix else "has no suffix"
        raise ValueError(f"{Path(file)}: a picture ends in {' or '.join(SUFFIXES)}, this {shown}")
    if find_spec("matplotlib") is None:
        raise ImportError(_MISSING)


def draw(table: ShiftTable, file: str | os.PathLike[str]) -> None:
    """Writes :func:`figure` to a file, as SVG or PNG by its suffix.

    Raises:
        ValueError: another suffix.
        ImportError: matplotlib is not there.
        OSError: the file cannot be written.
    """
    check_drawable(file)
    drawn = figure(table)
    import matplotlib

    suffix = Path(file).suffix.lower()
    metadata = {"Date": None} if suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "dropcheck", "svg.fonttype": "none"}), drafted(Path(file)) as draft:
        drawn.savefig(draft, format=suffix[1:], dpi=150, metadata=metadata)


def figure(table: ShiftTable) -> Figure:
    """Above, the running variance beside the one measured in evaluation; below, the shift ratios; by norm.

    Both axes are logarithmic. A norm of which nothing is known leaves a gap, an infinite ratio too.

    Raises:
        ImportError: matplotlib is not there.
    """
    if find_spec("matplotlib") is None:
        raise ImportError(_MISSING)
    from matplotlib.figure import Figure

    norms = table.norms
    drawn = Figure(figsize=(8.0, 6.0), layout="constrained")
    variances, ratios = drawn.subplots(2, 1, sharex=True)
    _variances(variances, norms)
    _ratios(ratios, norms)
    _name(ratios, norms)
    drawn.suptitle(_title(table), fontsize=11)
    return drawn


def _variances(axes: Axes, norms: Sequence[MeasuredNorm]) -> None:
    _line(axes, [one.moving_var for one in norms], _BLUE, "o", "moving_var: running variance of the batch norm")
    _line(axes, [one.real_var for one in norms], _ORANGE, "s", "real_var: measured at its input, dropout off")
    if any(one.after is not None for one in norms):
        after = [None if one.after is None else one.after.moving_var for one in norms]
        _line(axes, after, _GREEN, "+", "moving_var after recalibration")
    _finish(axes, "variance\n(mean over channels)")


def _ratios(axes: Axes, norms: Sequence[MeasuredNorm]) -> None:
    axes.axhline(1.0, color="0.6", linewidth=0.8, zorder=1)
    stored = [one.shift_ratio for one in norms]
    if any(one.after is not None for one in norms):
        after = [None if one.after is None else one.after.shift_ratio for one in norms]
        _line(axes, stored, _BLUE, "o", "before recalibration")
        _line(axes, after, _GREEN, "+", "after recalibration")
    else:
        trained = [None if one.delta is None else ratio(one.delta) for one in norms]
        _line(axes, stored, _BLUE, "o", "stored: max(real_var/moving_var, moving_var/real_var)")
        _line(axes, trained, _ORANGE, "D", "measured: max(Δ, 1/Δ), dropout off against dropout on", joined=False)
    _finish(axes, "shift ratio\n(1 is harmless)")
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, 0.97), max(top, 1.1))


def _line(
    axes: Axes, values: Sequence[float | None], color: str, marker: str, label: str, *, joined: bool = True
) -> None:
    """One value per norm; those not ``joined`` are hollow, so that a line they lie on still shows."""
    shown = [value if value is not None and isfinite(value) and value > 0.0 else nan for value in values]
    size = (4.5 if len(shown) <= _SMALL else 2.5) * (2.0 if marker == "+" else 1.0 if joined else 1.5)
    style = "-" if joined else "none"
    face = color if joined else "none"
    places = range(1, len(shown) + 1)
    axes.plot(
        places,
        shown,
        linestyle=style,
        color=color,
        marker=marker,
        ms=size,
        mfc=face,
        linewidth=1.2,
        label=label,
        zorder=2,
    )


def _finish(axes: Axes, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    plain: Any = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(LogLocator(subs=_ticks(high / low), numticks=12))
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(label)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1, borderaxespad=0.2)


def _ticks(span: float) -> tuple[float, ...]:
    """Where in a decade to set ticks, for some six of them on an axis from one number to ``span`` times it."""
    if span < 3.0:
        return (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)
    if span < 30.0:
        return (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    return (1.0, 2.0, 5.0) if span < 300.0 else (1.0,)


def _name(axes: Axes, norms: Sequence[MeasuredNorm]) -> None:
    if norms and len(norms) <= _MOST_NAMES:
        names = [_short(one_line(one.name)) for one in norms]
        slanted = sum(map(len, names)) > 60
        axes.set_xticks(range(1, len(norms) + 1), names)
        axes.tick_params(axis="x", labelrotation=45 if slanted else 0, labelsize=8)
        for label in axes.get_xticklabels() if slanted else ():
            label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_xlabel("batch norm, in the order of the forward pass")
    else:
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("index of the batch norm, in the order of the forward pass")
    axes.set_xlim(0.5, max(len(norms), 1) + 0.5)


def _short(name: str) -> str:
    """The end of a long name: beginnings are what names share."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _title(table: ShiftTable) -> str:
    so_far = "" if table.complete else ", interrupted"
    return (
        f"Variance shift of {plural(len(table), 'batch norm')}: "
        f"{plural(table.samples, 'sample')} of {one_line(table.data) or 'data'}{so_far}"
    )
