"""Standard architectures as their papers and libraries have them: one run over all of them finds nothing wrong.

What is found all the same is stated here, with the paper that says so. It is never more than info.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = "tests/fixtures/clean"
NAMES = sorted(path.name for path in (ROOT / FOLDER).glob("*.py"))
KIM = "Kim et al. 2023, guideline 2: ahead of the global pool, head dropout adds less variance than behind it"
STATED: dict[str, dict[tuple[str, int], str]] = {
    "efficientnet.py": {("DC301", 84): KIM},
    "inception_v4.py": {("DC301", 80): KIM},
    "mobilenet_v2.py": {("DC301", 51): KIM},
    "senet.py": {("DC301", 57): KIM},
}
"""By file: code and line of a finding, and where it comes from."""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "dropcheck", "lint", FOLDER, "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    loaded: dict[str, Any] = json.loads(run.stdout)
    return loaded


def of(name: str, things: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    return [one for one in things if one[where].partition(":")[0] == f"{FOLDER}/{name}"]


@pytest.mark.parametrize("name", NAMES)
def test_all_of_it_is_analysed(name: str, report: dict[str, Any]) -> None:
    models = of(name, report["models"], "target")
    assert any(model["status"] == "analysed" for model in models)
    assert [model["opaque"] for model in models if model["opaque"]] == []
    assert not any(model["status"] == "failed" for model in models)
    assert of(name, report["errors"], "path") == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_but_what_is_stated(name: str, report: dict[str, Any]) -> None:
    found = [one for one in report["findings"] if one["location"]["path"] == f"{FOLDER}/{name}"]
    assert {(one["code"], one["location"]["line"]) for one in found} == set(STATED.get(name, {}))
    assert [one["severity"] for one in found] == ["info"] * len(found)


def test_the_stated_files_exist() -> None:
    assert set(STATED) <= set(NAMES)
