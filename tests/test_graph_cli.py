"""`dropcheck graph` from the user's side."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dropcheck.cli import main

NETS = """\
from torch import nn


class Harmed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drop, self.norm = nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8)

    def forward(self, x):
        return self.norm(self.drop(self.fc(x)))


def plain():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU())
"""


Draw = Callable[..., tuple[int, str, str]]


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Draw:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dropcheck", "graph", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def test_every_model_of_a_file_as_text(draw: Draw) -> None:
    code, out, err = draw("nets.py")
    assert (code, err) == (0, "")
    titles = [line.split()[0] for line in out.splitlines() if line]
    plain = ["nets.py:plain", "input", "Linear", "output"]
    assert titles == [*plain, "nets.py:Harmed", "input", "Linear", "✗", "✗", "output"]


def test_the_suffix_says_how(draw: Draw, tmp_path: Path) -> None:
    assert draw("nets.py:Harmed", "--output", "net.svg")[0] == 0
    assert ET.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")
    assert draw("nets.py:Harmed", "--output", "net.dot")[0] == 0
    assert (tmp_path / "net.dot").read_text(encoding="utf-8").startswith("digraph")
    assert draw("nets.py:Harmed", "--format", "mermaid")[1].startswith("flowchart TD")


def test_a_picture_is_of_one_model(draw: Draw) -> None:
    code, out, err = draw("nets.py", "--format", "svg")
    assert (code, out) == (2, "")
    assert "name one of nets.py:plain, nets.py:Harmed" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("gone.py",), 2, "no such file"),
        ((".",), 2, "is a directory"),
        (("nets.py:Harmd",), 2, "did you mean Harmed?"),
        (("nets.py", "--format", "svgg"), 2, "did you mean 'svg'?"),
        (("nets.py:Harmed", "--input", "2x9"), 3, "nets.py:Harmed"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw: Draw, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, out, err = draw(*arguments)
    assert (ended, out) == (code, "")
    assert said in err
