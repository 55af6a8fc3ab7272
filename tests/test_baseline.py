"""``--write-baseline`` and ``--baseline``: what is known stays known while lines move, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from linting import Lint, lint, net

from dropcheck import __version__
from dropcheck.baseline import entries, gone, read_baseline, without_known, write_baseline
from dropcheck.graph import Site
from dropcheck.merge import grouped
from dropcheck.result import Report
from dropcheck.rule import Finding, RuleInfo, Severity
from dropcheck.source import UsageError

__all__ = ["lint"]

RULES = tuple(RuleInfo(code, "a-rule", "", "", "") for code in ("DC101", "DC501"))


def finding(
    line: int,
    op: str = "drop",
    code: str = "DC101",
    path: str = "nets.py",
    model: str = "nets.py:Net",
    delta: float = 0.5,
) -> Finding:
    return Finding(
        code,
        "a-rule",
        Severity.ERROR,
        f"a fact: {delta}",
        "a cure",
        Site(path, line, 9, line, 20),
        model,
        op,
        "bn",
        delta,
    )


def report(*findings: Finding, root: str = "", whole: tuple[str, ...] = ("nets.py",)) -> Report:
    return Report(grouped(findings, root), rules=RULES, files=1, whole=frozenset(whole))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("known.json")


def test_what_is_written_is_known_when_lines_and_numbers_have_changed(file: Path) -> None:
    write_baseline(file, report(finding(3), finding(9, op="out"), finding(12, "Net.forward/dropout", "DC501")))
    later = report(
        finding(33, delta=0.2), finding(90, op="out"), finding(21, "Net.forward/dropout", "DC501"), finding(7, op="new")
    )
    new = without_known(later, read_baseline(file))
    assert [one.op for one in new.findings] == ["new"]
    assert new.baselined == 3


def test_a_second_finding_like_a_known_one_is_new(file: Path) -> None:
    write_baseline(file, report(finding(12, "Net.forward/dropout", "DC501")))
    twice = report(finding(12, "Net.forward/dropout", "DC501"), finding(15, "Net.forward/dropout", "DC501"))
    assert [one.site and one.site.line for one in without_known(twice, read_baseline(file)).findings] == [15]


@pytest.mark.parametrize(
    "other",
    [
        finding(3, code="DC501"),
        finding(3, op="drop2"),
        finding(3, model="nets.py:Other"),
        finding(3, path="other.py"),
    ],
    ids=["code", "op", "symbol", "path"],
)
def test_what_differs_in_more_than_the_line_is_new(file: Path, other: Finding) -> None:
    write_baseline(file, report(finding(3)))
    assert len(without_known(report(other), read_baseline(file)).findings) == 1


def test_the_file_is_sorted_and_says_what_its_fingerprints_are(file: Path) -> None:
    known = report(finding(9, op="out"), finding(3), finding(1, "f/dropout", "DC501", "a.py", "a.py"))
    write_baseline(file, known)
    first = file.read_text()
    write_baseline(file, replace(known, findings=known.findings[::-1]))
    assert file.read_text() == first
    document = json.loads(first)
    assert document["version"] == 1
    assert document["tool"] == {"name": "dropcheck", "version": __version__}
    assert [(one["path"], one["code"], one["model"], one["op"]) for one in document["findings"]] == [
        ("a.py", "DC501", "", "f/dropout"),
        ("nets.py", "DC101", "Net", "drop"),
        ("nets.py", "DC101", "Net", "out"),
    ]
    assert all(line.count('"fingerprint"') <= 1 for line in first.splitlines())


def test_an_empty_baseline_knows_nothing(file: Path) -> None:
    write_baseline(file, report())
    assert read_baseline(file) == ()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "the baseline known.json cannot be read: No such file or directory; write it anew"),
        (b"{", "the baseline known.json is not valid JSON: "),
        (b"\xff", "the baseline known.json is not valid JSON: "),
        (b"[]", "known.json is no baseline of dropcheck: it has no version"),
        (b'{"findings": []}', "known.json is no baseline of dropcheck: it has no version"),
        (b'{"version": 2, "findings": []}', "known.json has version 2, and this dropcheck reads version 1"),
        (b'{"version": true, "findings": []}', "has version True"),
        (b'{"version": 1}', "the baseline known.json is damaged: 'findings'"),
        (b'{"version": 1, "findings": [{"code": "DC101"}]}', "the baseline known.json is damaged: 'fingerprint'"),
        (b'{"version": 1, "findings": 3}', "the baseline known.json is damaged"),
    ],
)
def test_a_file_that_is_no_baseline_is_an_error(file: Path, content: bytes | None, complaint: str) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_baseline(file)
    assert complaint in str(caught.value)
    assert str(caught.value).endswith("write it anew with --write-baseline known.json")


class TestGone:
    def known(self, file: Path, *paths: str) -> Report:
        return report(*(finding(3, path=path, model=f"{path}:Net") for path in paths))

    def still(self, file: Path, now: Report, *paths: str) -> list[str]:
        for path in paths:
            Path(path).touch()
        return [entry.path for entry in gone(now, entries(self.known(file, *paths).findings, file), file)]

    def test_what_is_no_longer_found_in_a_file_analysed_in_whole(self, file: Path) -> None:
        assert self.still(file, report(), "nets.py", "other.py") == ["nets.py"]
        assert self.still(file, self.known(file, "nets.py"), "nets.py") == []

    def test_not_where_its_rule_did_not_run(self, file: Path) -> None:
        assert self.still(file, replace(report(), rules=RULES[1:]), "nets.py") == []

    def test_what_was_in_a_file_that_is_no_more(self, file: Path) -> None:
        known = entries(self.known(file, "old.py").findings, file)
        assert [entry.path for entry in gone(report(), known, file)] == ["old.py"]


def test_findings_in_installed_packages_are_the_same_on_every_machine() -> None:
    paths = ("/home/a/venv/lib/python3.11/site-packages/timm/drop.py", "C:/py/site-packages/timm/drop.py")
    one, two = (report(finding(3, path=path), root="/home/a/project").findings[0] for path in paths)
    assert one.fingerprint == two.fingerprint


def test_suppressing_one_call_leaves_the_other_its_fingerprint(lint: Lint) -> None:
    def fingerprints(text: str) -> list[str]:
        return [one.fingerprint for one in lint({"nets.py": text}, folder=Path("same")).findings if one.code == "DC101"]

    twice = net().replace("x = F.relu(self.fc1(x))", "x = F.relu(self.bn(self.drop(self.fc1(x))))")
    first, second = fingerprints(twice)
    assert fingerprints(twice.replace("(self.fc1(x))))", "(self.fc1(x))))  # dropcheck: ignore[DC101]")) == [second]
    assert fingerprints(f"# moved\n\n{twice}") == [first, second]
