"""`dropcheck graph` from the user's side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from commands import Command

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


@pytest.fixture
def draw(command: Command) -> Command:
    Path("nets.py").write_text(NETS, encoding="utf-8")
    return partial(command, "graph")


def test_every_model_of_a_file_as_text(draw: Command) -> None:
    code, out, err = draw("nets.py")
    assert (code, err) == (0, "")
    titles = [line.split()[0] for line in out.splitlines() if line]
    plain = ["nets.py:plain", "input", "Linear", "output"]
    assert titles == [*plain, "nets.py:Harmed", "input", "Linear", "✗", "✗", "output"]


def test_the_suffix_says_how(draw: Command, tmp_path: Path) -> None:
    assert draw("nets.py:Harmed", "--output", "net.svg")[0] == 0
    assert ET.parse(tmp_path / "net.svg").getroot().tag.endswith("svg")
    assert draw("nets.py:Harmed", "--output", "net.dot")[0] == 0
    assert (tmp_path / "net.dot").read_text(encoding="utf-8").startswith("digraph")
    assert draw("nets.py:Harmed", "--format", "mermaid")[1].startswith("flowchart TD")
    assert draw("nets.py:Harmed", "--output", "net.png")[0] == 2
    assert draw("nets.py:Harmed", "--output", "net.png", "--format", "svg")[0] == 0


def test_a_picture_is_of_one_model(draw: Command) -> None:
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
def test_what_cannot_be_drawn_is_named(draw: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, out, err = draw(*arguments)
    assert (ended, out) == (code, "")
    assert said in err
