"""Planted faults, each rule's in at least five differently written files: every one is found, and nothing else.

A comment ``# finds: DC101 DC110`` at the end of a line says what is wrong there. The folder is named after the rule
whose fault is planted in it; what else is marked is there because of it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropcheck.rules import BUILTIN

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests/fixtures/faults"
FILES = sorted(FOLDER.rglob("*.py"))
WITHOUT_FILES = {"DC001": "comments, see test_suppression", "DC701": "trained weights, see test_rules_weights"}


def marked(file: Path) -> Iterator[tuple[str, int]]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.search(r"# finds: ([A-Z0-9 ]+)$", line):
            yield from ((code, number) for code in found[1].split())


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    everything = ",".join(("DC", *(rule.code for rule in BUILTIN if not rule.on_by_default)))
    command = [sys.executable, "-m", "dropcheck", "lint", str(FOLDER.relative_to(ROOT)), "--format", "json"]
    run = subprocess.run([*command, "--select", everything], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    loaded: dict[str, Any] = json.loads(run.stdout)
    return loaded


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_each_fault_is_found_and_nothing_else(file: Path, report: dict[str, Any]) -> None:
    path = file.relative_to(ROOT).as_posix()
    planted = file.relative_to(FOLDER).parts[0].upper()
    found = {
        (finding["code"], finding["location"]["line"])
        for finding in report["findings"]
        if finding["location"]["path"] == path and (finding["severity"] != "info" or finding["code"] == planted)
    }
    assert sorted(found) == sorted(marked(file))


def test_every_rule_has_five_faults() -> None:
    written = {
        rule.code: len({file.relative_to(FOLDER).parts[1] for file in FILES if rule.code.lower() in file.parts})
        for rule in BUILTIN
        if rule.code not in WITHOUT_FILES
    }
    assert {code: files for code, files in written.items() if files < 5} == {}
