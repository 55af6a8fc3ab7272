"""What a finding is about, as places in the source: its own, where the noise enters, and the norm that suffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dropcheck.graph import Site
from dropcheck.report.wording import delta_text, op_text
from dropcheck.result import DropoutReport, NormReport, Report
from dropcheck.rule import Finding


@dataclass(frozen=True, slots=True)
class Mark:
    """A region of source and what is to be said about it; ``path`` is the module path of the layer there."""

    site: Site
    path: str
    label: str


def norm_of(report: Report, finding: Finding) -> NormReport | None:
    """The norm a finding speaks of; of a model built in several ways, of a build where the finding's noise arrives."""
    norms = [
        norm
        for model in report.models
        if model.target == finding.model
        for norm in model.norms
        if norm.name == finding.norm
    ]
    return max(norms, key=lambda norm: any(blame.dropout == finding.op for blame in norm.sources), default=None)


def dropout_of(report: Report, finding: Finding) -> DropoutReport | None:
    """The dropout a finding speaks of, None if its operation is no dropout; one that drops something comes first."""
    dropouts = [
        dropout
        for model in report.models
        if model.target == finding.model
        for dropout in model.dropouts
        if dropout.name == finding.op
    ]
    return max(dropouts, key=lambda dropout: dropout.drop_rate, default=None)


def marks(report: Report, finding: Finding) -> tuple[Mark, ...]:
    """The finding's own place first, then the dropout's and the norm's where they are others; only known ones."""
    labels: dict[Site, Mark] = {}
    if finding.site is not None:
        labels[finding.site] = Mark(finding.site, op_text(finding.op), "")
    for mark in _roles(report, finding):
        if mark.site not in labels or not labels[mark.site].label:
            labels[mark.site] = mark
    return tuple(labels.values())


def _roles(report: Report, finding: Finding) -> Iterator[Mark]:
    dropout, norm = dropout_of(report, finding), norm_of(report, finding)
    if dropout is not None and dropout.site is not None:
        yield Mark(dropout.site, op_text(dropout.name), f"drop rate {dropout.drop_rate:g}")
    if norm is not None and norm.site is not None and finding.delta is not None:
        yield Mark(norm.site, op_text(norm.name), f"Δ = {delta_text(finding.delta)}")
