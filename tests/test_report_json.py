"""The JSON report against its schema, and against the report it was made from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from report_samples import CLEAN, EMPTY, FINDINGS, FULL, STACK

import dropcheck
from dropcheck.graph import Site
from dropcheck.report import render
from dropcheck.result import AnalysisError, Blame, DropoutReport, ErrorKind, ModelReport, NormReport, Report, Status
from dropcheck.rule import Finding, Severity
from dropcheck.shift import Evidence

SCHEMA = json.loads(files("dropcheck.report").joinpath("schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def read(report: Report) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render(report, "json"))
    return document


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object within a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


def site_of(location: dict[str, Any] | None) -> Site | None:
    return None if location is None else Site(**location)


def evidence_of(document: dict[str, Any]) -> Evidence | None:
    return None if document["evidence"] is None else Evidence(document["evidence"])


def model_of(document: dict[str, Any]) -> ModelReport:
    norms = tuple(
        NormReport(
            norm["name"],
            norm["kind"],
            norm["delta"],
            norm["delta_measured"],
            tuple(Blame(**source) for source in norm["sources"]),
            site_of(norm["location"]),
        )
        for norm in document["norms"]
    )
    dropouts = tuple(
        DropoutReport(one["name"], one["kind"], one["drop_rate"], site_of(one["location"]))
        for one in document["dropouts"]
    )
    same = {name: document[name] for name in ("target", "reason", "capture", "arguments", "input", "ops")}
    return ModelReport(
        **same,
        status=Status(document["status"]),
        evidence=evidence_of(document),
        opaque=tuple(document["opaque"]),
        norms=norms,
        dropouts=dropouts,
    )


def finding_of(document: dict[str, Any]) -> Finding:
    rest = {name: fact for name, fact in document.items() if name not in {"location", "severity", "evidence", "fix"}}
    return Finding(
        **rest,
        site=site_of(document["location"]),
        severity=Severity(document["severity"]),
        evidence=evidence_of(document),
    )


def error_of(document: dict[str, Any]) -> AnalysisError:
    return AnalysisError(document["path"], ErrorKind(document["kind"]), document["message"], document["hint"])


@pytest.mark.parametrize("report", [FULL, CLEAN, EMPTY], ids=["full", "clean", "empty"])
def test_valid_by_the_schema(report: Report) -> None:
    VALIDATOR.validate(read(report))


def test_the_schema_is_a_schema_and_strict() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    loose = [one["description"] for one in objects(SCHEMA) if one["additionalProperties"] is not False]
    optional = [name for one in objects(SCHEMA) for name in one["properties"] if name not in one["required"]]
    assert (loose, optional) == ([], ["measurement"])


def test_the_schema_describes_every_field() -> None:
    undescribed = [
        name
        for one in objects(SCHEMA)
        for name, field in one["properties"].items()
        if not {"description", "$ref"} & set(field)
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("extra",), 1),
        (("findings", 0, "severity"), "fatal"),
        (("findings", 0, "location", "line"), 0),
        (("findings", 0, "occurrences"), 0),
        (("models", 0, "status"), "fine"),
        (("models", 0, "norms", 0, "extra"), None),
        (("summary", "findings", "error"), -1),
        (("errors", 0, "kind"), "odd"),
    ],
)
def test_the_schema_refuses(path: tuple[str | int, ...], value: object) -> None:
    document: Any = read(FULL)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    assert not VALIDATOR.is_valid(document)


def test_keys_come_in_the_order_of_the_schema() -> None:
    """A golden shows the order; this one holds it together with the documentation."""
    document = read(FULL)
    parts = SCHEMA["$defs"]
    location = parts["location"]["anyOf"][1]
    model = document["models"][3]
    pairs = [
        (document | {"measurement": None}, SCHEMA),  # which only measuring adds
        (document["summary"], SCHEMA["properties"]["summary"]),
        (document["findings"][0], parts["finding"]),
        (document["findings"][0]["location"], location),
        (document["errors"][0], parts["error"]),
        (model, parts["model"]),
        (model["norms"][0], parts["norm"]),
        (model["dropouts"][0], parts["dropout"]),
    ]
    assert [list(part) for part, _ in pairs] == [list(schema["properties"]) for _, schema in pairs]


@pytest.mark.parametrize("report", [FULL, CLEAN, EMPTY], ids=["full", "clean", "empty"])
def test_everything_can_be_read_back(report: Report) -> None:
    document = read(report)
    assert tuple(model_of(one) for one in document["models"]) == tuple(
        replace(model, by_design=False) for model in report.models
    )
    assert tuple(finding_of(one) for one in document["findings"]) == report.findings
    assert [error_of(one) for one in document["errors"]] == [replace(error, details="") for error in report.errors]


def test_summary_and_tool() -> None:
    document = read(FULL)
    assert document["tool"] == {"name": "dropcheck", "version": dropcheck.__version__}
    assert document["summary"] == {
        "files": 5,
        "models": 2,
        "findings": {"error": 1, "warning": 2, "info": 1},
        "suppressed": 2,
        "seconds": 0.8125,
    }


@pytest.mark.parametrize("delta", [math.inf, math.nan])
def test_a_delta_that_is_no_number_is_null(delta: float) -> None:
    norm = replace(STACK.norms[0], delta=delta, delta_measured=delta)
    report = Report((replace(FINDINGS[0], delta=delta),), (replace(STACK, norms=(norm,)),))
    document = read(report)
    VALIDATOR.validate(document)
    assert document["findings"][0]["delta"] is None
    assert (document["models"][0]["norms"][0]["delta"], document["models"][0]["norms"][0]["delta_measured"]) == (
        None,
        None,
    )


def test_a_delta_of_zero_is_zero() -> None:
    document = read(Report((replace(FINDINGS[0], delta=0.0),)))
    assert document["findings"][0]["delta"] == 0.0


def test_plain_ascii() -> None:
    """Any terminal and any encoding can carry it; what it says is unchanged."""
    message = "Δ 漢字 \x1b[31m \u202e \U0001f600 \\u0394 \x7f"
    report = Report((replace(FINDINGS[0], message=message),))
    text = render(report, "json")
    assert text.isascii()
    assert json.loads(text)["findings"][0]["message"] == message


def test_lone_surrogates_become_replacement_characters() -> None:
    """A file name that is no UTF-8 arrives with them; strict JSON readers refuse them."""
    report = Report((replace(FINDINGS[0], message="\udcff and \ud83d"),))
    assert read(report)["findings"][0]["message"] == "\ufffd and \ufffd"


def test_to_json_is_this_format() -> None:
    assert FULL.to_json() == render(FULL, "json")
