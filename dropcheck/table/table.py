"""The table of a run, and what else a run tells: how far it is, and why it could not be done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from dropcheck.graph import Graph, Site
from dropcheck.rule import ratio
from dropcheck.shift import Evidence, Shifts
from dropcheck.table.rows import MeasuredNorm, as_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OFF = 0.1
"""Relative error from which a prediction counts as off."""

SYNTHETIC = "synthetic smooth noise"
"""What a table calls data that were made up."""


class MeasurementError(Exception):
    """Something that could not be measured or recalibrated: what is wrong, and what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.hint = message, hint


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: batches run, other processes taken to be as far as this one.
        total: batches to run, None where the data do not say how many there are.
        samples: run so far, by this process.
    """

    done: int
    total: int | None
    samples: int


@dataclass(frozen=True, slots=True)
class ShiftTable:
    """What ``probe`` and ``recalibrate`` measured: a row per norm, in the order in which a forward reaches them.

    Norms that no forward reached come last.

    Attributes:
        batches, samples: how many were run, on all processes together.
        device: ``cpu``, ``cuda:0``, ``mps``.
        data: what was run: ``synthetic smooth noise``, or what the caller calls it.
        seed: of dropout masks and synthetic noise.
        complete: False if the run was interrupted: then the table holds what was measured until then.
        notes: sentences about what was left out or done otherwise than asked.
        processes: how many shared the work.
    """

    norms: tuple[MeasuredNorm, ...] = ()
    batches: int = 0
    samples: int = 0
    device: str = "cpu"
    data: str = ""
    seed: int = 0
    amp: bool = False
    complete: bool = True
    notes: tuple[str, ...] = ()
    processes: int = 1

    def __iter__(self) -> Iterator[MeasuredNorm]:
        return iter(self.norms)

    def __len__(self) -> int:
        return len(self.norms)

    def __getitem__(self, name: str) -> MeasuredNorm:
        """The norm of that module path. Raises KeyError."""
        for norm in self.norms:
            if norm.name == name:
                return norm
        raise KeyError(f"no norm is called {name!r}; there are {', '.join(repr(norm.name) for norm in self.norms)}")

    @property
    def worst(self) -> MeasuredNorm | None:
        """The norm with the largest shift, stored or measured; None where nothing is known of any."""
        return max((norm for norm in self.norms if norm.badness > 0.0), key=lambda norm: norm.badness, default=None)

    def mispredicted(self, tolerance: float = OFF) -> tuple[MeasuredNorm, ...]:
        """The norms whose predicted Δ is off by more than ``tolerance``, relative to the measured one."""
        return tuple(norm for norm in self.norms if (norm.prediction_error or 0.0) > tolerance)

    def to_json(self) -> str:
        """The table as JSON, one object per norm; what is not known, or infinite, is null."""
        head = {
            "version": 1,
            **{
                name: getattr(self, name)
                for name in ("data", "batches", "samples", "device", "amp", "seed", "processes", "complete", "notes")
            },
        }
        return json.dumps({**head, "norms": [as_json(norm) for norm in self.norms]}, indent=2, allow_nan=False)

    def plot(self, file: str | PathLike[str] | None = None) -> Figure | None:
        """Draws moving_var beside real_var and the shift ratios by norm, as Li et al. 2019, Figure 4.

        ``file``: where to, ``.svg`` or ``.png`` by its name; without one the figure is returned (notebooks show it).

        Raises:
            ImportError: matplotlib is not there (``pip install 'dropcheck[plot]'``).
        """
        from dropcheck.report.plot import draw, figure

        if file is None:
            return figure(self)
        draw(self, Path(file))
        return None

    def _repr_html_(self) -> str:
        from dropcheck.report.notebook import as_html

        return as_html(self)


def joined(table: ShiftTable, graph: Graph, shifts: Shifts) -> ShiftTable:
    """The table with each norm's prediction and place in the source, and the places of the dropouts, by module path.

    Of a norm that forward calls several times the worst prediction counts.
    """
    sites: dict[str, Site | None] = {}
    predicted: dict[str, float] = {}
    for node in graph:
        sites.setdefault(node.path, node.site)
    for name, shift in shifts.norms.items():
        if shift.delta is not None:
            path = graph[name].path
            predicted[path] = max(predicted.get(path, 1.0), shift.delta, key=ratio)
    return replace(table, norms=tuple(_with_prediction(norm, sites, predicted, shifts.evidence) for norm in table))


def _with_prediction(
    norm: MeasuredNorm, sites: Mapping[str, Site | None], predicted: Mapping[str, float], evidence: Evidence
) -> MeasuredNorm:
    delta = predicted.get(norm.name)
    return replace(
        norm,
        site=norm.site or sites.get(norm.name),
        predicted=delta,
        evidence=None if delta is None else evidence,
        sources=tuple(replace(one, site=one.site or sites.get(one.dropout)) for one in norm.sources),
    )
