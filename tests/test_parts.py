"""A class that another file's model is made of is judged there, and not by itself."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from dropcheck.config import Settings
from dropcheck.result import Report
from dropcheck.run import lint_targets

BLOCK = """
from torch import nn

class Block(nn.Module):
    def __init__(self, width, recipe: str):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, int(recipe)), nn.Dropout(0.5), nn.BatchNorm1d(int(recipe)))
    def forward(self, x): return self.layers(x)

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.BatchNorm1d(8))
    def forward(self, x): return self.layers(x)

def shrink(recipe: str):
    return nn.Linear(int(recipe), 2)
"""
NET = """
from torch import nn
from .block import Block, Plain, shrink

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.plain = Block(4, "8"), shrink("8"), Plain()
    def forward(self, x): return self.second(self.first(x)) + self.plain(x[:, :3])[:, :2]
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "nets"
    folder.mkdir()
    for name, text in {"__init__": "", "block": BLOCK, "net": NET}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def told(report: Report) -> dict[str, str]:
    return {model.target: f"{model.status}: {model.reason or ''}" for model in report.models}


def test_parts_of_another_files_model_are_left_out(package: Path) -> None:
    report = lint_targets(["nets"], Settings())
    assert report.errors == ()
    assert told(report) == {
        "nets/block.py:Block": "skipped: part of nets/net.py:Net",
        "nets/block.py:Plain": "skipped: part of nets/net.py:Net",
        "nets/block.py:shrink": "skipped: used by the models of nets/net.py",
        "nets/net.py:Net": "analysed: ",
    }
    assert report.unanalysed == ()
    assert {(finding.model, finding.occurrences) for finding in report.findings if finding.code == "DC101"} == {
        ("nets/net.py:Net", 1)
    }


def test_a_part_that_is_asked_for_is_judged(package: Path) -> None:
    report = lint_targets(["nets", "nets/block.py:Plain"], Settings())
    assert told(report)["nets/block.py:Plain"] == "analysed: "


def test_a_part_alone_is_a_failure(package: Path) -> None:
    report = lint_targets(["nets/block.py"], Settings())
    assert {model.target for model in report.unanalysed} == {"nets/block.py:Block", "nets/block.py:shrink"}
    assert told(report)["nets/block.py:Plain"] == "analysed: "
