"""The SARIF report, read back by sarif-pydantic, which knows nothing of dropcheck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote

import pytest
from pydantic import BaseModel
from report_samples import CLEAN, EMPTY, FINDINGS, FULL, STACK
from sarif_pydantic import Sarif
from sarif_pydantic.sarif import Notification, Run

from dropcheck.graph import Site
from dropcheck.report import render
from dropcheck.result import AnalysisError, ErrorKind, ModelReport, Report, Status
from dropcheck.rule import RuleInfo

# Of SARIF 2.1.0 (§3.14.27, §3.27.31, §3.20.21), but not modelled by sarif-pydantic 0.6.
UNMODELLED = {"columnKind", "occurrenceCount", "toolExecutionNotifications"}


def read(report: Report) -> Run:
    sarif = Sarif.model_validate_json(render(report, "sarif"), strict=False)
    assert sarif.version == "2.1.0"
    [run] = sarif.runs
    return run


def notifications_of(run: Run) -> list[Notification]:
    return [Notification.model_validate(one) for one in run.invocations[0].model_extra["toolExecutionNotifications"]]


def unknown_fields(model: BaseModel) -> Iterator[str]:
    """Fields that the model was given and does not have: misspelt ones, most likely."""
    yield from (model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                yield from unknown_fields(one)


def at(path: str) -> Report:
    return Report((replace(FINDINGS[0], site=Site(path, 1, 1, 1, 2)),))


@pytest.mark.parametrize("report", [FULL, CLEAN, EMPTY], ids=["full", "clean", "empty"])
def test_no_field_that_sarif_does_not_have(report: Report) -> None:
    run = read(report)
    assert set(unknown_fields(run)) <= UNMODELLED
    assert [field for one in notifications_of(run) for field in unknown_fields(one)] == []


def test_counts_agree() -> None:
    run = read(FULL)
    levels = Counter(result.level.value for result in run.results)
    assert levels == {"error": 1, "warning": 2, "note": 1}
    assert [result.rule_id for result in run.results] == [finding.code for finding in FULL.findings]
    assert [result.model_extra["occurrenceCount"] for result in run.results] == [8, 1, 1, 1]
    assert len(notifications_of(run)) == 5
    assert len(run.tool.driver.rules) == 3


def test_every_result_points_at_its_rule() -> None:
    run = read(FULL)
    for result in run.results:
        assert run.tool.driver.rules[result.rule_index].id == result.rule_id


def test_regions_are_those_of_the_findings() -> None:
    for result, finding in zip(read(FULL).results, FULL.findings, strict=True):
        physical = result.locations[0].physical_location
        if finding.site is None:
            assert physical is None
            continue
        region = physical.region
        found = (region.start_line, region.start_column, region.end_line, region.end_column)
        site = finding.site
        assert found == (site.line, site.column, site.end_line, site.end_column)
        assert (physical.artifact_location.uri, physical.artifact_location.uri_base_id) == (site.path, "%SRCROOT%")


def test_a_finding_without_a_place_names_its_file_and_no_line() -> None:
    report = Report((replace(FINDINGS[0], site=None),))
    physical = read(report).results[0].locations[0].physical_location
    assert (physical.artifact_location.uri, physical.region) == ("nets/stack.py", None)


def test_the_norm_is_a_related_location() -> None:
    [related] = read(FULL).results[0].related_locations
    assert (related.message.text, related.physical_location.region.start_line) == ("blocks.0.bn: Δ = 0.50", 14)


def test_fingerprints_are_passed_on() -> None:
    fingerprints = [result.partial_fingerprints for result in read(FULL).results]
    assert fingerprints[0] == {"dropcheck/v1": "9f2c41d07be35a18"}
    assert fingerprints[3] is None


def test_rules_carry_their_documentation() -> None:
    rule = read(FULL).tool.driver.rules[0]
    assert (rule.id, rule.name) == ("DC101", "dropout-before-batchnorm")
    assert rule.short_description.text == "Dropout feeds a batch norm with no weight layer between them."
    assert rule.full_description.text == (
        "Dropout inflates the variance that the norm stores, and evaluation meets a smaller one."
    )
    assert rule.help.text == "Put the dropout after the last batch norm."
    assert rule.help.markdown == FULL.rules[0].documentation
    assert rule.default_configuration.level == "warning"


def test_a_long_description_stays_within_the_limit_of_code_scanning() -> None:
    rule = RuleInfo("DC101", "n", "s", f"s\n\n## Why is this bad\n{'word ' * 500}\n\n## Source\nx", "h")
    text = read(Report(rules=(rule,))).tool.driver.rules[0].full_description.text
    assert len(text) == 1024
    assert text.endswith("…")
    assert "Source" not in text


@pytest.mark.parametrize(
    ("report", "successful"),
    [
        (CLEAN, True),
        (EMPTY, True),
        (Report(FINDINGS), True),
        (Report(errors=(AnalysisError("a.py", ErrorKind.CRASH, "m", "h"),)), False),
        (Report(models=(ModelReport("a.py:A", Status.SKIPPED),)), False),
        (Report(models=(ModelReport("a.py:A", Status.FAILED),)), False),
        (Report(models=(ModelReport("a.py:A", Status.SKIPPED, by_design=True),)), True),
    ],
)
def test_execution_is_successful_if_everything_was_analysed(report: Report, successful: bool) -> None:
    assert read(report).invocations[0].execution_successful is successful


def test_notifications_say_what_was_not_analysed() -> None:
    run = read(FULL)
    notifications = notifications_of(run)
    for one in notifications:
        assert run.tool.driver.notifications[one.descriptor.index].id == one.descriptor.id
    assert [(one.descriptor.id, one.level.value) for one in notifications] == [
        ("import", "error"),
        ("syntax", "error"),
        ("failed", "error"),
        ("skipped", "warning"),
        ("opaque", "warning"),
    ]
    files = [one.locations and one.locations[0].physical_location.artifact_location.uri for one in notifications]
    assert files == ["nets/broken.py", "nets/old.py", "nets/broken.py", "nets/vit.py", None]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("nets/a b.py", "nets/a%20b.py"),
        ("c:d.py", "c%3Ad.py"),
        ("../x/é#?%[].py", "../x/%C3%A9%23%3F%25%5B%5D.py"),
        ("/elsewhere/a b.py", "file:///elsewhere/a%20b.py"),
        ("C:/nets/a.py", "file:///C%3A/nets/a.py"),
    ],
)
def test_paths_become_uris(path: str, uri: str) -> None:
    artifact = read(at(path)).results[0].locations[0].physical_location.artifact_location
    assert artifact.uri == uri
    assert unquote(artifact.uri.removeprefix("file://")).endswith(path)
    assert (artifact.uri_base_id is None) == uri.startswith("file:")


def test_braces_and_links_in_a_message_are_literal() -> None:
    report = Report((replace(FINDINGS[0], message="`{'p': {0}}` and `self.blocks[0](x)`, [a] (b)"),))
    assert read(report).results[0].message.text == r"`{{'p': {{0}}}}` and `self.blocks\[0\](x)`, [a] (b)"


def test_a_delta_that_is_no_number_is_left_out() -> None:
    report = Report((replace(FINDINGS[0], delta=float("inf")),), (STACK,))
    assert "delta" not in read(report).results[0].properties
