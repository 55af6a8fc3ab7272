"""SARIF 2.1.0, as code scanning services read it (OASIS standard; numbers in docstrings are its sections)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from dropcheck import __version__
from dropcheck.graph import Site
from dropcheck.report.marks import marks
from dropcheck.report.view import View
from dropcheck.report.wording import file_of, json_text, left_out, opaque_text, remarked
from dropcheck.result import ErrorKind, Report, Status
from dropcheck.rule import Finding, RuleInfo, Severity

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_ROOT = "%SRCROOT%"
_WHY = re.compile(r"(?ms)^#+ Why is this bad\s*\n(.*?)(?=^#|\Z)")
_LINK = re.compile(r"\[([^\[\]]*)\]\(")
_NOTIFICATIONS = (*ErrorKind, Status.SKIPPED, Status.FAILED, "opaque", "weights")
_DESCRIPTION_LIMIT = 1024  # of GitHub code scanning, which refuses a file that exceeds it


def render(report: Report, view: View) -> str:
    rules = _rules(report)
    index = {rule.code: number for number, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "dropcheck",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules],
                "notifications": [{"id": str(kind)} for kind in _NOTIFICATIONS],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The directory dropcheck was started in."}}},
        "invocations": [
            {
                "executionSuccessful": not (report.errors or report.unanalysed),
                "toolExecutionNotifications": list(_notifications(report)),
            }
        ],
        "results": [_result(report, finding, index[finding.code]) for finding in report.findings],
    }
    return json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rules(report: Report) -> tuple[RuleInfo, ...]:
    """The rules that ran, and a minimal entry for any other code a finding carries (§3.27.6 wants an index)."""
    rules = {rule.code: rule for rule in report.rules}
    for finding in report.findings:
        bare = RuleInfo(finding.code, finding.name, finding.name, finding.name, finding.help or finding.name)
        rules.setdefault(finding.code, bare)
    return tuple(rules[code] for code in sorted(rules))


def _rule(rule: RuleInfo) -> dict[str, Any]:
    """§3.49. The level is each result's own: it follows the predicted shift."""
    why = _WHY.search(rule.documentation)
    description = " ".join(why.group(1).split()) if why else rule.summary
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": _shortened(rule.summary)},
        "fullDescription": {"text": _shortened(description)},
        "help": {"text": rule.help, "markdown": rule.documentation},
        "defaultConfiguration": {"level": "warning"},
    }


def _shortened(text: str) -> str:
    return text if len(text) <= _DESCRIPTION_LIMIT else text[: _DESCRIPTION_LIMIT - 1] + "…"


def _result(report: Report, finding: Finding, rule_index: int) -> dict[str, Any]:
    """§3.27."""
    facts = {
        "model": finding.model,
        "op": finding.op,
        "norm": finding.norm,
        "delta": finding.delta if finding.delta is not None and math.isfinite(finding.delta) else None,
        "evidence": finding.evidence,
        "help": finding.help or None,
    }
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": _LEVEL[finding.severity],
        "message": _message(finding.message),
        "locations": [_location(finding)],
        "occurrenceCount": finding.occurrences,
        "properties": {name: fact for name, fact in facts.items() if fact is not None},
    }
    related = list(_related(report, finding))
    if related:
        result["relatedLocations"] = related
    if finding.fingerprint:
        result["partialFingerprints"] = {"dropcheck/v1": finding.fingerprint}
    return result


def _message(text: str) -> dict[str, str]:
    """§3.11: braces would be placeholders and ``[a](b)`` a link, so the former are doubled, the latter escaped."""
    return {"text": _LINK.sub(r"\\[\1\\](", text.replace("{", "{{").replace("}", "}}"))}


def _location(finding: Finding) -> dict[str, Any]:
    """§3.28: the region, or the file alone where it is unknown, and in any case the module path within the model."""
    logical = {"logicalLocations": [{"fullyQualifiedName": f"{finding.model}/{finding.op}", "kind": "member"}]}
    if finding.site is not None:
        return _physical(finding.site) | logical
    file = file_of(finding.model)
    return _file(file) | logical if file is not None else logical


def _related(report: Report, finding: Finding) -> Iterator[dict[str, Any]]:
    """§3.27.22: the dropout and the norm, unless the finding points there already."""
    for mark in marks(report, finding):
        if mark.site != finding.site:
            yield _physical(mark.site) | {"message": _message(f"{mark.path}: {mark.label}")}


def _physical(site: Site) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": _artifact(site.path), "region": _region(site)}}


def _file(path: str) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": _artifact(path)}}


def _region(site: Site) -> dict[str, int]:
    """§3.30: columns count from 1 and the end column is exclusive, as in a Site."""
    return {
        "startLine": site.line,
        "startColumn": site.column,
        "endLine": site.end_line,
        "endColumn": site.end_column,
    }


def _artifact(path: str) -> dict[str, str]:
    """§3.4. A relative reference may hold no bare colon, so everything but the slashes is percent-encoded."""
    encoded = quote(path, safe="/", errors="replace")
    if path.startswith("/"):
        return {"uri": f"file://{encoded}"}
    if re.match(r"[A-Za-z]:/", path):
        return {"uri": f"file:///{encoded}"}
    return {"uri": encoded, "uriBaseId": _ROOT}


def _notifications(report: Report) -> Iterator[dict[str, Any]]:
    """What could not be analysed, and what was analysed in part."""
    for error in report.errors:
        yield _notification(error.kind, "error", f"{error.message} {error.hint}".strip(), error.path)
    for model in left_out(report):
        level = "error" if model.status is Status.FAILED else "warning"
        yield _notification(model.status, level, f"{model.target}: {model.reason or 'no reason given'}", model.target)
    for model in remarked(report):
        yield _notification("weights", "note", f"{model.target}: {model.reason}", model.target)
    for model in report.models:
        if model.opaque:
            yield _notification("opaque", "warning", f"{model.target}: {opaque_text(model)}", model.target)


def _notification(kind: str, level: str, text: str, target: str) -> dict[str, Any]:
    """§3.58."""
    notification: dict[str, Any] = {
        "descriptor": {"id": str(kind), "index": _NOTIFICATIONS.index(kind)},
        "level": level,
        "message": _message(text),
    }
    file = file_of(target)
    if file is not None:
        notification["locations"] = [_file(file)]
    return notification
