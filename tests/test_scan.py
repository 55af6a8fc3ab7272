"""The static look at a file: does it parse, and what in it may be a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dropcheck.result import ErrorKind
from dropcheck.source import Kind, Scan, scan

HEAD = "import torch\nimport torch.nn as nn\nfrom torch.nn import functional as F\n"


def scanned(tmp_path: Path, source: str | bytes) -> Scan:
    file = tmp_path / "nets.py"
    file.write_bytes(source if isinstance(source, bytes) else source.encode())
    return scan(file)


def names(tmp_path: Path, source: str) -> list[tuple[str, str]]:
    result = scanned(tmp_path, source)
    assert result.error is None
    return [(candidate.name, candidate.kind.value) for candidate in result.candidates]


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (b"x = 1\ndef f(:\n", "line 2, column 7: invalid syntax", "correct it"),
        (b"print 'hello'\n", "line 1, column 1: Missing parentheses in call to 'print'", "this looks like Python 2"),
        (b"if x:\n\ty = 1\n        z = 2\n", "line 3", "correct it"),
        (b"import torch\nname = '\xe9'\n", "line 2: byte 0xe9 is not valid utf-8", "save it as UTF-8"),
        (b"# -*- coding: klingon -*-\n", "line 1: unknown encoding: klingon", "name an encoding that Python knows"),
        (b"x = 1\0\n", "byte 6 is NUL: not a Python source file", "leave the file out"),
        ("x = 1".encode("utf-16"), "NUL", "leave the file out"),
        (b"x = " + b"(" * 5000, "line 1", "correct it"),
    ],
)
def test_files_that_do_not_parse_are_named_with_the_place(
    tmp_path: Path, source: bytes, message: str, hint: str
) -> None:
    error = scanned(tmp_path, source).error
    assert error is not None
    assert error.kind is ErrorKind.SYNTAX
    assert error.path == (tmp_path / "nets.py").as_posix()
    assert message in error.message
    assert error.hint.startswith(hint) or hint in error.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    error = scan(tmp_path / "gone.py").error
    assert error is not None
    assert error.message == "cannot be read: No such file or directory"


def test_declared_encodings_and_marks_are_honoured(tmp_path: Path) -> None:
    assert scanned(tmp_path, b"# coding: latin-1\nname = '\xe9'\n").error is None
    assert scanned(tmp_path, b"\xef\xbb\xbfname = 1\r\n").error is None
    assert scanned(tmp_path, b"").error is None


def test_doubtful_escapes_are_not_our_business(tmp_path: Path) -> None:
    assert scanned(tmp_path, r"pattern = '\d'").error is None


def test_long_expressions_are_read_as_far_as_python_reads_them(tmp_path: Path) -> None:
    assert scanned(tmp_path, "x = " + " + ".join(["1"] * 400)).error is None
    error = scanned(tmp_path, "x = " + " + ".join(["1"] * 100_000)).error
    assert error is not None
    assert error.kind is ErrorKind.SYNTAX


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import numpy as np\nclass Table(dict): pass\nclass Plain: pass\n",
        "import enum\nclass Kind(enum.Enum):\n    A = 1\n",
        "from pydantic import BaseModel\nclass Config(BaseModel):\n    depth: int = 3\n",
        HEAD + "from nets import Net\ndef main():\n    Net().train()\nif __name__ == '__main__':\n    main()\n",
        HEAD + "from nets import Net\nif __name__ == '__main__':\n    model = Net()\n",
        HEAD + "class Data(torch.utils.data.Dataset):\n    pass\n",
        HEAD + "class Straight(torch.autograd.Function):\n    pass\n",
        HEAD + "weight = nn.Parameter(torch.zeros(3))\n",
        HEAD + "def loss(x):\n    return F.mse_loss(x, x)\n",
        HEAD + "def outer():\n    class Net(nn.Module): pass\n",
        "from .log import get_logger\nlogger = get_logger()\n",
        "import pytest\n@pytest.fixture\ndef table():\n    return dict()\n",
    ],
)
def test_files_without_models_need_no_torch(tmp_path: Path, source: str) -> None:
    assert not scanned(tmp_path, source).may_hold_models


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (HEAD + "class Net(nn.Module): pass\n", [("Net", "class")]),
        ("import torch\nclass Net(torch.nn.Module): pass\n", [("Net", "class")]),
        ("from torch.nn import *\nclass Net(Module): pass\n", [("Net", "class")]),
        ("from .base import Base\nclass Net(Base[int]): pass\n", [("Net", "class")]),
        ("class Net(nn.Module): pass\n", [("Net", "class")]),
        (HEAD + "try:\n    class Net(nn.Module): pass\nexcept ImportError:\n    pass\n", [("Net", "class")]),
        (HEAD + "class A(nn.Module): pass\nclass B(A): pass\n", [("B", "class"), ("A", "class")]),
        (HEAD + "Base = nn.Conv2d\nclass Net(Base): pass\n", [("Net", "class")]),
        (HEAD + "def f(x) -> nn.Module: return g(x)\n", [("f", "factory")]),
        (HEAD + "def f(x) -> 'nn.Sequential': return g(x)\n", [("f", "factory")]),
        (HEAD + "def f(n):\n    layers = []\n    return nn.Sequential(*layers)\n", [("f", "factory")]),
        (HEAD + "def f():\n    net = nn.Sequential().to('cpu').eval()\n    return net\n", [("f", "factory")]),
        (HEAD + "def f(): return g()\ndef g(): return h()\ndef h(): return nn.Linear(2, 2)\n", ["f", "g", "h"]),
        (HEAD + "def f(net): return net\ndef g(cls): return cls()\n", []),
        ("import torchvision\ndef f(): return torchvision.models.resnet18()\n", [("f", "factory")]),
        (HEAD + "net = nn.Sequential(nn.Linear(2, 2)).eval()\n", [("net", "instance")]),
        (HEAD + "net: nn.Module = nn.Linear(2, 2)\n", [("net", "instance")]),
        ("from zoo import build\nmodel = build('a')\nconfig = build('b')\n", [("model", "instance")]),
    ],
)
def test_candidates(tmp_path: Path, source: str, expected: list[object]) -> None:
    found = names(tmp_path, source)
    assert found == [one if isinstance(one, tuple) else (one, "factory") for one in expected]


def test_users_come_before_what_they_use(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
class Block(nn.Module): pass
BLOCKS = {"plain": Block}
def conv(width): return nn.Conv2d(width, width, 3)
class Stem(nn.Module):
    def __init__(self): self.conv = conv(3)
class Net(nn.Module):
    def __init__(self, kind): self.blocks, self.stem = BLOCKS[kind](), Stem()
def small() -> Net: return Net("plain")
model = small()
"""
    )
    order = [("model", "instance"), ("small", "factory"), ("Net", "class"), ("Block", "class"), ("Stem", "class")]
    assert names(tmp_path, source) == [*order, ("conv", "factory")]
    uses = {candidate.name: set(candidate.uses) for candidate in scanned(tmp_path, source).candidates}
    assert uses["Net"] == {"Block", "Stem"}
    assert uses["model"] == {"small"}


def test_classes_that_use_each_other_are_all_there(tmp_path: Path) -> None:
    source = (
        HEAD + "class A(nn.Module):\n    def f(self): return B()\nclass B(nn.Module):\n    def f(self): return A()\n"
    )
    assert names(tmp_path, source) == [("A", "class"), ("B", "class")]


def test_the_last_definition_of_a_name_counts(tmp_path: Path) -> None:
    (candidate,) = scanned(tmp_path, HEAD + "class Net(nn.Module): pass\ndef Net() -> nn.Module: pass\n").candidates
    assert (candidate.kind, candidate.line) == (Kind.FACTORY, 5)


def test_relative_imports_say_how_deep_the_file_lies(tmp_path: Path) -> None:
    assert scanned(tmp_path, "def f():\n    from ...zoo import Net\n").level == 3
    assert scanned(tmp_path, "import zoo\n").level == 0


def test_the_static_look_needs_the_standard_library_only() -> None:
    code = (
        "import sys, dropcheck.source; print([m for m in ('torch', 'numpy', 'networkx', 'rich') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
