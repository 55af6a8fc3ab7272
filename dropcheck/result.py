"""The result of a run: what was analysed, what was found, what could not be analysed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dropcheck.graph import Site
from dropcheck.rule import Finding, Placed, RuleInfo, Severity
from dropcheck.shift import Evidence, LayerStatistics, shift_ratio


class Status(StrEnum):
    """``skipped``: nobody said how to build it; ``failed``: building or capturing it raised."""

    ANALYSED = "analysed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Blame:
    """One dropout's share, in (0, 1], of the shift at a norm; ``dropout`` is its module path."""

    dropout: str
    share: float


@dataclass(frozen=True, slots=True)
class NormReport(Placed):
    """One batch norm of a model.

    ``delta`` is None where something opaque stands between a dropout and it, or where its statistics say nothing.
    ``delta_per_channel`` is empty unless the evidence knows channels; a channel whose statistics say nothing has None.
    """

    name: str
    kind: str
    delta: float | None
    delta_measured: float | None
    sources: tuple[Blame, ...]
    site: Site | None
    delta_per_channel: tuple[float | None, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class DropoutReport(Placed):
    """One dropout of a model."""

    name: str
    kind: str
    drop_rate: float
    site: Site | None


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model: how it was built and captured, and what it holds.

    ``reason`` says why a model was not analysed (and, for a part of another model, where it was); of an analysed one,
    what its trained weights could not tell. ``weights`` says which file those come from and how it was read.
    ``layers`` are its weight layers, known where weights are. ``opaque`` lists the operations nothing is known about.
    ``by_design``: left out on purpose, as a part of another analysed model, which is no failure. ``without``: packages
    that its file imports, that are not installed and that it did not need.
    """

    target: str
    status: Status
    reason: str | None = None
    capture: Literal["fx", "record", "source"] | None = None
    arguments: str | None = None
    input: str | None = None
    weights: str | None = None
    layers: tuple[LayerStatistics, ...] = field(default=(), repr=False)
    evidence: Evidence | None = None
    ops: int = 0
    opaque: tuple[str, ...] = ()
    norms: tuple[NormReport, ...] = ()
    dropouts: tuple[DropoutReport, ...] = ()
    by_design: bool = False
    without: tuple[str, ...] = ()


class ErrorKind(StrEnum):
    SYNTAX = "syntax"
    IMPORT = "import"
    CONSTRUCT = "construct"
    CAPTURE = "capture"
    MEASURE = "measure"
    TIMEOUT = "timeout"
    CRASH = "crash"
    CONFIG = "config"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class AnalysisError:
    """Something that could not be analysed: where, why, and what to try. ``details``: a traceback, for --verbose."""

    path: str
    kind: ErrorKind
    message: str
    hint: str
    details: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a run says, in a stable order.

    ``rules`` are the rules that ran, ``files`` counts the files looked at, models or not. ``suppressed`` counts the
    findings that comments or the configuration silence, ``baselined`` those that a baseline has. ``static``: sources
    were read and nothing was run. ``whole`` are the files of which, and of whose users, everything was analysed.
    ``notebooks`` counts those that lie among the files and were not read.
    """

    findings: tuple[Finding, ...] = ()
    models: tuple[ModelReport, ...] = ()
    errors: tuple[AnalysisError, ...] = ()
    rules: tuple[RuleInfo, ...] = field(default=(), repr=False)
    files: int = 0
    suppressed: int = 0
    seconds: float = field(default=0.0, compare=False)
    baselined: int = 0
    static: bool = False
    whole: frozenset[str] = field(default=frozenset(), repr=False)
    notebooks: int = 0

    @property
    def counts(self) -> dict[Severity, int]:
        """Findings per severity, every severity present."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in Severity}

    @property
    def analysed(self) -> tuple[ModelReport, ...]:
        """The models that were analysed."""
        return tuple(model for model in self.models if model.status is Status.ANALYSED)

    @property
    def unanalysed(self) -> tuple[ModelReport, ...]:
        """The models that ought to have been analysed and were not, skipped or failed."""
        return tuple(model for model in self.models if model.status is not Status.ANALYSED and not model.by_design)

    @property
    def complete(self) -> bool:
        """Whether everything was judged: no error, no model left out, no opaque operation, no norm without a Δ."""
        unjudged = any(
            model.opaque or any(norm.delta is None and norm.delta_measured is None for norm in model.norms)
            for model in self.models
        )
        return not (self.errors or self.unanalysed or unjudged)

    @property
    def largest_shift(self) -> float | None:
        """The largest predicted shift ratio, max(Δ, 1/Δ), of all norms; None when no Δ is known."""
        deltas = [norm.delta for model in self.models for norm in model.norms if norm.delta is not None]
        return max((shift_ratio(delta) for delta in deltas), default=None)

    def to_json(self) -> str:
        """The report as JSON, version 1 (``dropcheck/report/schema.json``)."""
        from dropcheck.report import render

        return render(self, "json")
