"""One line per finding, and per thing that could not be analysed: for editors, grep and quickfix lists."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.report.view import View
from dropcheck.report.wording import (
    delta_text,
    left_out,
    occurrences_text,
    one_line,
    opaque_text,
    place,
    remarked,
    visible,
)
from dropcheck.result import AnalysisError, Report
from dropcheck.rule import Finding


def render(report: Report, view: View) -> str:
    return "".join(line + "\n" for line in _lines(report, view))


def error_line(error: AnalysisError) -> str:
    """What could not be analysed, why, and what to try."""
    hint = f" ({one_line(error.hint)})" if error.hint else ""
    return f"{visible(error.path)}: {error.kind} error: {one_line(error.message)}{hint}"


def _lines(report: Report, view: View) -> Iterator[str]:
    for finding in report.findings:
        yield f"{place(finding.site)}: {finding.code} {one_line(finding.message)} [{_facts(finding)}]"
    if view.errors:
        yield from map(error_line, report.errors)
    for model in left_out(report):
        yield f"{visible(model.target)}: {model.status}: {one_line(model.reason or 'no reason given')}"
    for model in remarked(report):
        yield f"{visible(model.target)}: note: {one_line(model.reason or '')}"
    for model in report.models:
        if model.opaque:
            yield f"{visible(model.target)}: opaque: {opaque_text(model)}"


def _facts(finding: Finding) -> str:
    delta = None if finding.delta is None else f"Δ={delta_text(finding.delta)}"
    facts = (finding.severity, delta, occurrences_text(finding))
    return ", ".join(fact for fact in facts if fact is not None)
