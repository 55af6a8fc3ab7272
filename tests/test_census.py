"""The census of public packages: its own parts, and what its kept result is held to."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.census_tables import document
from benchmarks.forks import forked
from benchmarks.tried import Tried, tried
from benchmarks.zoo import Entry, listed
from torch import nn

CENSUS = Path(__file__).parent / "benchmarks" / "CENSUS.md"
ROW = {
    "package": "zoo",
    "name": "net",
    "setup": "",
    "build": "nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8))",
    "input": [[[4, 8], "float32"]],
}


def table(title: str) -> dict[str, dict[str, str]]:
    """The first table of a section of the kept result: by zoo, its figures by column."""
    lines = CENSUS.read_text(encoding="utf-8").partition(f"## {title}\n")[2].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_the_kept_result_meets_the_goals() -> None:
    everything = table("Models with an example input")["all"]
    assert int(everything["tried"]) >= 88
    assert int(everything["built"]) - int(everything["captured"]) <= 1  # one whose forward does not run
    assert float(everything["opaque"].removesuffix(" %")) <= 2.0
    assert float(everything["ratio, median"]) <= 2.0
    reasons = CENSUS.read_text(encoding="utf-8").partition("## Classes")[0]
    assert "its forward runs" not in reasons
    assert "changed by linting" not in reasons


def stuck() -> Mapping[str, Any]:
    time.sleep(60)
    return {}


def killed() -> Mapping[str, Any]:
    os.kill(os.getpid(), signal.SIGTERM)
    return {}


def test_forked_tasks_answer_or_are_answered_for() -> None:
    tasks = [lambda: {"number": 0}, stuck, killed, lambda: {"number": 3}]
    answers = list(forked(tasks, 2, 0.8, lambda number, why: {"number": number, "why": why}))
    assert sorted(answers, key=lambda answer: answer["number"]) == [
        {"number": 0},
        {"number": 1, "why": "no answer in time"},
        {"number": 2, "why": f"its process ended with status {int(signal.SIGTERM)}"},
        {"number": 3},
    ]


def test_a_model_of_a_list(tmp_path: Path) -> None:
    file = tmp_path / "models.jsonl"
    file.write_text(json.dumps(ROW) + "\n")
    (entry,) = listed(file)
    result = tried(entry, entry.namespace())
    assert (result.built, result.capture, result.norms, result.dropouts) == (True, "fx", 1, 1)
    assert result.codes["DC101"] == 1
    assert result.touched == ()
    assert result.seconds is not None
    assert result.least is not None


@pytest.mark.parametrize(
    ("build", "built", "runs", "said"),
    [
        ("nn.Linear('a', 3)", False, None, "TypeError"),
        ("nn.Linear(3, 3)", True, False, "forward raised"),
    ],
)
def test_what_is_not_captured_says_where_it_stopped(build: str, built: bool, runs: bool | None, said: str) -> None:
    result = tried(Entry("zoo", "net", build=build, inputs=(([2, 8], "float32"),)), {"nn": nn, "torch": torch})
    assert (result.built, result.runs, result.capture) == (built, runs, None)
    assert said in (result.error or "")


def test_the_document_counts_and_groups() -> None:
    good = Tried("a", "net", True, "fx", ops=10, opaque=("lib.f",), seconds=2.0, least=1.0, codes={"DC101": 2})
    lost = [Tried("b", f"m:N{number}", False, error=f"constructing N{number} failed: E: x") for number in range(4)]
    text = document([good, *lost])
    assert "| a | 1 | 1 | 1 | 1 | 0 | 10 | 10.0 % | 2.00 | 2.00 | 2.00 |" in text
    assert "| `DC101` | 1 |" in text
    assert "| `lib.f` | 1 |" in text
    assert "| constructing it failed: E: x | not built | 4 | b m:N0, b m:N1, b m:N2 … |" in text
