"""Model files in the shapes of real repositories: their root classes are built and captured without configuration.

``fixtures/repos/expected.toml`` names the roots of each file, what of them runs on a guessed input, and why the others
cannot be analysed.
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
FOLDER = "tests/fixtures/repos"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads((ROOT / FOLDER / "expected.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    command = [sys.executable, "-m", "dropcheck", "lint", FOLDER, "--format", "json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 3, run.stderr
    loaded: dict[str, Any] = json.loads(run.stdout)
    return loaded


def of(name: str, models: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    prefix = f"{FOLDER}/{name}:"
    return {one["target"].removeprefix(prefix): one for one in models if one["target"].startswith(prefix)}


def test_every_file_is_expected() -> None:
    written = {path.relative_to(ROOT / FOLDER).as_posix() for path in (ROOT / FOLDER).rglob("*.py")}
    holding = {name for name in written if (ROOT / FOLDER / name).read_text().count("nn.Module") or name in EXPECTED}
    assert holding - set(EXPECTED) <= {"relative_pkg/blocks.py", "common_layers.py"}
    assert set(EXPECTED) <= written
    assert len(written) >= 60


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_its_roots_are_analysed(name: str, report: dict[str, Any]) -> None:
    expected = EXPECTED[name]
    models = of(name, report["models"])
    analysed = {symbol for symbol, model in models.items() if model["status"] == "analysed"}
    assert analysed == set(expected.get("roots", []))
    for symbol in analysed - set(expected.get("without_input", [])):
        assert models[symbol]["input"] is not None, symbol
    said = {one["path"].rpartition(":")[2]: one["message"] for one in report["errors"] if f"/{name}" in one["path"]}
    said |= {symbol: model["reason"] or "" for symbol, model in models.items() if model["status"] != "analysed"}
    for symbol, reason in expected.get("not", {}).items():
        assert reason in said[symbol], said


def test_nine_of_ten_roots_need_no_configuration() -> None:
    roots = sum(len(one.get("roots", [])) for one in EXPECTED.values())
    others = sum(len(one.get("not", {})) for one in EXPECTED.values())
    assert roots / (roots + others) >= 0.9


def test_what_is_not_analysed_says_what_to_do(report: dict[str, Any]) -> None:
    assert [error for error in report["errors"] if not error["hint"]] == []
    missing = [error["hint"] for error in report["errors"] if "is not installed" in error["message"]]
    assert sorted(hint.split()[1] for hint in missing) == ["'einops'", "'timm'", "'torch_geometric'", "'torchvision'"]
