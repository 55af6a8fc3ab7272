"""The report as JSON, version 1; ``schema.json`` beside this file describes every field."""

from __future__ import annotations

import math
from typing import Any

from dropcheck import __version__
from dropcheck.graph import Site
from dropcheck.report.view import View
from dropcheck.report.wording import json_text
from dropcheck.result import AnalysisError, ModelReport, NormReport, Report
from dropcheck.rule import Finding, Severity


def render(report: Report, view: View) -> str:
    return json_text(
        {
            "version": 1,
            "tool": {"name": "dropcheck", "version": __version__},
            "models": [_model(model) for model in report.models],
            "findings": [_finding(finding) for finding in report.findings],
            "errors": [_error(error) for error in report.errors],
            "summary": {
                "files": report.files,
                "models": len(report.analysed),
                "findings": {severity: report.counts[severity] for severity in Severity},
                "suppressed": report.suppressed + report.baselined,
                "seconds": report.seconds,
            },
        }
    )


def _model(model: ModelReport) -> dict[str, Any]:
    return {
        "target": model.target,
        "status": model.status,
        "reason": model.reason,
        "capture": model.capture,
        "arguments": model.arguments,
        "input": model.input,
        "evidence": model.evidence,
        "ops": model.ops,
        "opaque": list(model.opaque),
        "norms": [_norm(norm) for norm in model.norms],
        "dropouts": [
            {
                "name": dropout.name,
                "kind": dropout.kind,
                "drop_rate": dropout.drop_rate,
                "location": _location(dropout.site),
            }
            for dropout in model.dropouts
        ],
    }


def _norm(norm: NormReport) -> dict[str, Any]:
    return {
        "name": norm.name,
        "kind": norm.kind,
        "delta": _finite(norm.delta),
        "delta_measured": _finite(norm.delta_measured),
        "sources": [{"dropout": blame.dropout, "share": blame.share} for blame in norm.sources],
        "location": _location(norm.site),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "message": finding.message,
        "location": _location(finding.site),
        "model": finding.model,
        "op": finding.op,
        "norm": finding.norm,
        "delta": _finite(finding.delta),
        "evidence": finding.evidence,
        "help": finding.help,
        "fix": None,
        "fingerprint": finding.fingerprint,
        "occurrences": finding.occurrences,
    }


def _error(error: AnalysisError) -> dict[str, Any]:
    return {"path": error.path, "kind": error.kind, "message": error.message, "hint": error.hint}


def _location(site: Site | None) -> dict[str, Any] | None:
    if site is None:
        return None
    return {
        "path": site.path,
        "line": site.line,
        "column": site.column,
        "end_line": site.end_line,
        "end_column": site.end_column,
    }


def _finite(delta: float | None) -> float | None:
    return delta if delta is not None and math.isfinite(delta) else None
