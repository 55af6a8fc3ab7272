"""Model files as people write them: what one run over all of them must say, and must not.

``fixtures/real/expected.toml`` was written from reading the files, not from running dropcheck; its head explains it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = "tests/fixtures/real"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((ROOT / FOLDER / "expected.toml").read_text(encoding="utf-8"))
CODES = (
    "DC101",
    "DC102",
    "DC103",
    "DC104",
    "DC105",
    "DC110",
    "DC111",
    "DC201",
    "DC202",
    "DC203",
    "DC204",
    "DC301",
    "DC302",
    "DC402",
    "DC403",
    "DC404",
    "DC601",
    "DC701",
)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "dropcheck", "lint", FOLDER, "--format", "json", "--select", ",".join(CODES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    loaded: dict[str, Any] = json.loads(run.stdout)
    return loaded


def test_every_file_is_expected() -> None:
    assert sorted(EXPECTED) == sorted(path.name for path in (ROOT / FOLDER).glob("*.py"))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_models(name: str, report: dict[str, Any]) -> None:
    expected = EXPECTED[name]
    status = {
        one["target"].rpartition(":")[2]: one["status"] for one in report["models"] if f"/{name}:" in one["target"]
    }
    errors = [error for error in report["errors"] if f"/{name}" in error["path"]]
    assert errors == []
    for root in expected["roots"]:
        wanted = "analysed" if root.get("inferable", True) else "skipped"
        assert status.get(root["name"]) == wanted, status
    others = set(status) - {root["name"] for root in expected["roots"]}
    assert others <= set(expected.get("parts", [])), others


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_findings(name: str, report: dict[str, Any]) -> None:
    expected = EXPECTED[name]
    if all(not root.get("inferable", True) for root in expected.get("roots", [])):
        return  # nothing was built, and test_models holds that this is said
    found = {
        (finding["code"], finding["location"]["line"])
        for finding in report["findings"]
        if finding["location"]["path"] == f"{FOLDER}/{name}"
    }
    must = {(one["code"], one["line"]) for one in expected.get("find", [])}
    may = {(one["code"], one["line"]) for one in expected.get("allow", [])}
    assert sorted(must - found) == [], "missed"
    assert sorted(found - must - may) == [], "false alarm"
