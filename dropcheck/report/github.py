"""GitHub Actions workflow commands: one annotation per finding, error and model left out."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.graph import Site
from dropcheck.report.view import View
from dropcheck.report.wording import (
    delta_text,
    file_of,
    left_out,
    occurrences_text,
    op_text,
    opaque_text,
    remarked,
    visible,
)
from dropcheck.result import Report, Status
from dropcheck.rule import Finding, Severity

_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(report: Report, view: View) -> str:
    return "".join(line + "\n" for line in _commands(report))


def _commands(report: Report) -> Iterator[str]:
    for finding in report.findings:
        title = f"{finding.code} {finding.name}"
        yield _command(_LEVEL[finding.severity], {**_region(finding.site), "title": title}, *_body(finding))
    for error in report.errors:
        title = f"{error.kind} error: {error.path}"
        yield _command("error", {"file": file_of(error.path), "title": title}, error.message, error.hint)
    for model in left_out(report):
        level = "error" if model.status is Status.FAILED else "warning"
        where = {"file": file_of(model.target), "title": f"{model.status}: {model.target}"}
        yield _command(level, where, model.reason or "no reason given")
    for model in remarked(report):
        where = {"file": file_of(model.target), "title": f"note: {model.target}"}
        yield _command("notice", where, model.reason or "")
    for model in report.models:
        if model.opaque:
            where = {"file": file_of(model.target), "title": f"opaque: {model.target}"}
            yield _command("warning", where, opaque_text(model))


def _body(finding: Finding) -> Iterator[str]:
    yield finding.message
    arrow = " → ".join(op_text(name) for name in (finding.op, finding.norm) if name is not None)
    delta = None if finding.delta is None else f"Δ = {delta_text(finding.delta)}"
    yield ", ".join(fact for fact in (f"{arrow} in {finding.model}", delta, occurrences_text(finding)) if fact)
    yield finding.help


def _region(site: Site | None) -> dict[str, str | None]:
    """GitHub refuses columns on regions of several lines."""
    if site is None:
        return {}
    lines = {"file": site.path, "line": str(site.line), "endLine": str(site.end_line)}
    columns = {"col": str(site.column), "endColumn": str(site.end_column)}
    return {**lines, **columns} if site.line == site.end_line else dict(lines)


def _command(level: str, properties: dict[str, str | None], *body: str) -> str:
    """One command; ``body`` gives the lines of its message, empty ones are left out."""
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value is not None)
    return f"::{level} {given}::" + _escaped("\n".join(line for line in body if line))


def _escaped(text: str) -> str:
    """Escaped as GitHub's toolkit does it; of the characters it leaves alone, those a terminal acts upon are shown."""
    return visible(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
