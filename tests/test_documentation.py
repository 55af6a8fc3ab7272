"""The documentation of rules cannot drift: it is run, it is the same everywhere, and the options it names exist."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from test_rules import CASES, READ, captured, weighed

from dropcheck.config_keys import KEYS
from dropcheck.report import render
from dropcheck.result import Report
from dropcheck.rule import Example, Rule, Subject, Thresholds
from dropcheck.rules import BUILTIN
from dropcheck.shift import predict

CODES = [pytest.param(rule, id=rule.code) for rule in BUILTIN]


def section(rule: Rule, heading: str) -> str:
    """What a rule's documentation says under a heading, empty if it has none such."""
    found = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", rule.info().documentation)
    return found[1].strip() if found else ""


def test_every_example_is_run() -> None:
    run = {case.values[0].code for case in (*CASES, *READ)}
    assert {rule.code for rule in BUILTIN} - run == {"DC001"}, "DC001's are run by test_suppression"


@pytest.mark.parametrize("rule", CODES)
def test_no_section_is_empty(rule: Rule) -> None:
    for heading in ("What it does", "Why is this bad", "Example", "Use instead", "Near misses", "Source"):
        assert section(rule, heading), heading


@pytest.mark.parametrize("rule", CODES)
def test_the_options_it_names_exist(rule: Rule) -> None:
    for option in re.findall(r"`([a-z-]+(?:\.[a-z-]+)?)`", section(rule, "Options")):
        table, _, key = option.partition(".")
        assert table in KEYS
        assert not key or (table == "thresholds" and key in {field.name for field in fields(Thresholds)})


@pytest.mark.parametrize("rule", [param for param in CODES if param.values[0].checks])
def test_it_says_which_thresholds_it_follows(rule: Rule, tmp_path: Path) -> None:
    follows = any(follow(rule, example, tmp_path) for example in rule.examples if example.expect)
    assert ("thresholds." in section(rule, "Options")) is follows


def follow(rule: Rule, example: Example, directory: Path) -> bool:
    """Whether what a rule finds in an example depends on the thresholds."""
    graph = captured(example, directory, None)
    shifts = weighed(graph, example.weights) if example.weights else predict(graph)
    told = set()
    for thresholds in (Thresholds(), Thresholds(1.0, 1.0), Thresholds(1e9, 1.0), Thresholds(1e9, 1e9)):
        found = rule.check(Subject("net.py:Net", graph, shifts, thresholds))
        told.add(tuple((one.op, one.norm, one.severity) for one in found))
    return len(told) > 1


def test_reports_for_code_scanning_print_it() -> None:
    document = json.loads(render(Report(rules=tuple(rule.info() for rule in BUILTIN)), "sarif"))
    shown = {rule["id"]: rule["help"] for rule in document["runs"][0]["tool"]["driver"]["rules"]}
    assert shown == {rule.code: {"text": rule.info().help, "markdown": rule.info().documentation} for rule in BUILTIN}
