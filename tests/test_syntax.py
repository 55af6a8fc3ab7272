"""What a source file says: names, positions, classes, and what expressions are worth in evaluation mode."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dropcheck.graph import Site
from dropcheck.syntax import Gate, SourceFile, Unparsable
from dropcheck.syntax.pruning import LONG, pruned
from dropcheck.syntax.scope import Scope
from dropcheck.syntax.tree import Call

HEADER = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"


def source(text: str) -> SourceFile:
    return SourceFile("net.py", HEADER + text)


def call_of(file: SourceFile, name: str) -> Call:
    """The only call of something so called."""
    (found,) = [call for call in file.calls if call.called == name]
    return found


def gate_of(expression: str, around: str = "", init: str = "pass", rest: str = "") -> Gate:
    """What an expression is worth in a method ``forward(self, x, flag, p=0.5)``, behind the statements ``around``."""
    file = source(
        f"class Net(nn.Module):\n    def __init__(self, rate, use=True):\n        super().__init__()\n        {init}\n"
        f"    def forward(self, x, flag, p=0.5):\n{around}        return probe({expression})\n{rest}"
    )
    probe = call_of(file, "probe")
    return file.running.of(probe.arguments[0].value, probe.scope)


class TestNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("from torch.nn import functional as G\nG.dropout(x)", "torch.nn.functional.dropout"),
            ("import torch.nn.functional as NF\nNF.dropout(x)", "torch.nn.functional.dropout"),
            ("import torch.nn.functional\ntorch.nn.functional.dropout(x)", "torch.nn.functional.dropout"),
            ("nn.functional.dropout(x)", "torch.nn.functional.dropout"),
            ("from torch.nn.functional import dropout as d\nd(x)", "torch.nn.functional.dropout"),
            ("from torch.nn.functional import *\ndropout(x)", "torch.nn.functional.dropout"),
            ("from torch import dropout\ndrop = dropout\ndrop(x)", "torch.dropout"),
            ("from . import layers\nlayers.dropout(x)", ".layers.dropout"),
            ("from .layers import dropout\ndropout(x)", ".layers.dropout"),
            ("import other.functional as F\nF.dropout(x)", "other.functional.dropout"),
            ("def dropout(x): pass\ndropout(x)", ":dropout"),
            ("class A:\n    drop = F.dropout\n    def f(self):\n        self.drop(x)", "torch.nn.functional.dropout"),
            ("def f(drop=F.dropout):\n    drop(x)", "torch.nn.functional.dropout"),
        ],
    )
    def test_calls_are_known_by_what_they_call(self, text: str, name: str) -> None:
        file = source(text)
        call = next(call for call in file.calls if call.called in ("dropout", "drop", "d"))
        assert file.names.dotted(call.function, call.scope) == [name]

    def test_names_without_an_import_are_taken_as_customary(self) -> None:
        file = SourceFile("net.py", "y = F.dropout(nn.ReLU()(x))\n")
        assert {one.name for _, one in file.meanings} == {"torch.nn.functional.dropout", "torch.nn.ReLU"}

    def test_imports_that_may_fail_leave_all_meanings(self) -> None:
        file = source("try:\n    from fast import attend\nexcept ImportError:\n    from slow import attend\nattend(x)")
        assert file.names.dotted(call_of(file, "attend").function, file.said.scopes[0]) == [
            "fast.attend",
            "slow.attend",
        ]

    def test_what_is_defined_by_itself_ends(self) -> None:
        file = source("def f(x):\n" + "    x = x.view(x)\n" * 60 + "    a = b\n    b = a\n    return x(a(b))\n")
        assert file.meanings == ()

    def test_a_partial_keeps_its_arguments(self) -> None:
        file = source("from functools import partial\ndrop = partial(F.dropout, p=0.3)\ndrop(x, training=False)")
        call, meaning = next((call, one) for call, one in file.meanings if call.called == "drop")
        wanted = ((0, "x"), (1, "p"), (2, "training"), (3, "inplace"))
        given = [file.names.argument(call, meaning, place, name) for place, name in wanted]
        read = [None if one is None else getattr(one[0], "value", getattr(one[0], "id", None)) for one in given]
        assert read == ["x", 0.3, False, None]


class TestClasses:
    def classes(self, text: str) -> tuple[SourceFile, dict[str, Scope]]:
        file = source(text)
        return file, {one.name: one for one in file.classes}

    def test_modules(self) -> None:
        file, known = self.classes(
            "from lib import Base\nclass A(nn.Module): pass\nclass B(A): pass\nclass C(Base): pass\nclass D: pass\n"
            "class E(C, B): pass\nclass G(nn.Linear): pass\n"
        )
        found = {name: file.layers.is_module(one) for name, one in known.items()}
        assert found == {"A": True, "B": True, "C": None, "D": False, "E": True, "G": True}

    def test_layers_held_through_other_classes(self) -> None:
        file, known = self.classes(
            "class A(nn.Module):\n    def __init__(self):\n        self.bn = nn.BatchNorm1d(3)\n"
            "class B(nn.Module):\n    def __init__(self):\n        self.a = A()\n"
            "class C(nn.Module):\n    def __init__(self):\n        self.fc = nn.Linear(3, 3)\n"
            "class D(nn.Module):\n    def __init__(self):\n        self.x = elsewhere.Block()\n"
        )
        found = {name: file.layers.holds(one, file.layers.is_batch_norm) for name, one in known.items()}
        assert found == {"A": True, "B": True, "C": False, "D": None}


class TestGates:
    @pytest.mark.parametrize(
        "expression",
        [
            *("self.training", "False", "0.0", "None", "not True", "self.training and use", "self.p * self.training"),
            *("0.5 if self.training else 0", "0 if not self.training else self.p", "bool(self.training)"),
            *("self.training is True", "self.training == True", "getattr(self, 'training')", "self.body.training"),
            *("max(0.0, 0.0)", "self.training or False", "(self.p if self.training else 0.0) > 0"),
        ],
    )
    def test_off(self, expression: str) -> None:
        assert gate_of(expression) is Gate.OFF

    @pytest.mark.parametrize(
        "expression", ["True", "0.5", "not self.training", "self.training is False", "1 if True else x"]
    )
    def test_on(self, expression: str) -> None:
        assert gate_of(expression) is Gate.ON

    @pytest.mark.parametrize(
        "expression",
        [
            "self.use",
            "self.rate",
            "self.rate > 0",
            "not self.use",
            "self.use and self.rate > 0",
            "self.cfg.dropout",
            "x is None",
        ],
    )
    def test_fixed_by_configuration(self, expression: str) -> None:
        init = "self.use, self.rate, self.cfg = use, rate, rate"
        assert gate_of(expression, init=init) is Gate.FIXED

    @pytest.mark.parametrize(
        "expression",
        [
            "flag",
            "p",
            "not flag",
            "torch.is_grad_enabled()",
            "self.unknown",
            "self.mode == 'train'",
            "self.training or self.use",
        ],
    )
    def test_open_to_others(self, expression: str) -> None:
        assert gate_of(expression, init="self.use = self.mode = use") is Gate.OPEN

    @pytest.mark.parametrize(
        ("around", "gate"),
        [
            ("        r = self.training\n", Gate.OFF),
            ("        r = 0.0\n        if self.training:\n            r = 0.5\n", Gate.OFF),
            ("        r = 0.5\n        if not self.training:\n            r = 0.0\n", Gate.OFF),
            ("        if self.training:\n            r = 0.5\n        else:\n            r = 0.0\n", Gate.OFF),
            ("        r = 0.5\n        if p > 0:\n            r = 0.1\n", Gate.ON),
            ("        r = True\n        r = flag\n", Gate.OPEN),
            ("        for r in [0.1, 0.2]:\n            pass\n", Gate.ON),
            ("        for r, y in zip(range(3), range(3)):\n            pass\n", Gate.FIXED),
        ],
    )
    def test_local_variables(self, around: str, gate: Gate) -> None:
        assert gate_of("r", around) is gate

    @pytest.mark.parametrize(
        ("init", "rest", "gate"),
        [
            ("self.r = 0.0", "", Gate.OFF),
            ("self.r = rate", "", Gate.FIXED),
            ("self.r = self.training", "", Gate.ON),
            ("self.r = rate", "    def train(self, mode=True):\n        self.r = mode\n", Gate.OPEN),
            ("self.r = rate", "def off(net):\n    net.r = False\n", Gate.OPEN),
            ("pass", "    @property\n    def r(self):\n        return self.training and 0.5\n", Gate.OFF),
            ("pass", "    r = 0.3\n", Gate.ON),
        ],
    )
    def test_attributes(self, init: str, rest: str, gate: Gate) -> None:
        assert gate_of("self.r", init=init, rest=rest) is gate

    def test_circles_end(self) -> None:
        assert (
            gate_of("self.r", init="self.r = self.s", rest="    def f(self):\n        self.s = self.r\n") is Gate.OPEN
        )


class TestText:
    def test_calls_stand_where_python_says(self) -> None:
        text = Path(__file__).read_text(encoding="utf-8") + "y = (f)(a)\nz = (\n  'äöü', g\n  (b)\n)\nlambda: h(\n)\n"
        nodes = [one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Call)]
        lines = [line.encode() for line in text.split("\n")]

        def column(line: int, offset: int) -> int:
            return len(lines[line - 1][:offset].decode()) + 1

        wanted = {
            Site("net.py", one.lineno, column(one.lineno, one.col_offset), end, column(end, one.end_col_offset or 0))
            for one in nodes
            if (end := one.end_lineno) is not None
        }
        assert {call.site for call in SourceFile("net.py", text).calls} == wanted

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("x = (\n", "line 1: '(' was never closed"),
            ("print 'hello'\n", "line 1: Missing parentheses in call to 'print'. Did you mean print(...)?"),
            ("x = " + "-" * 30_000 + "1\n", "it is nested too deeply to be parsed"),
            ("x = 1\x00\n", "source code string cannot contain null bytes"),
        ],
        ids=["open", "Python 2", "deep", "NUL"],
    )
    def test_what_cannot_be_parsed_is_said(self, text: str, complaint: str) -> None:
        with pytest.raises(Unparsable) as caught:
            list(SourceFile("net.py", text).calls)
        assert str(caught.value) == complaint
        assert caught.value.hint

    @pytest.mark.parametrize(
        "text",
        ["x = " + "+".join(["f(1)"] * 1500), "x = a" + ".b" * 1500, "if a: pass\n" + "elif b: f(1)\n" * 1500],
        ids=["sum", "attributes", "elif"],
    )
    def test_what_python_accepts_is_read_however_deep(self, text: str) -> None:
        limit, stack = sys.getrecursionlimit(), threading.stack_size()
        file = SourceFile("net.py", text + "\n")
        assert sum(call.called == "f" for call in file.calls) == text.count("f(1)")
        assert file.meanings is not None
        assert (sys.getrecursionlimit(), threading.stack_size()) == (limit, stack)

    def test_tabs_form_feeds_and_carriage_returns(self) -> None:
        file = SourceFile("net.py", "def f():\r\n\tg(1)\r\n\x0c\r\nh(2)\r\n")
        assert [(call.site.line, call.site.column) for call in file.calls] == [(4, 1), (2, 2)]

    def test_nothing_is_parsed_before_it_is_asked(self) -> None:
        script = (
            "import json, sys; from dropcheck.syntax import SourceFile; import dropcheck.rules;"
            "file = SourceFile('x.py', 'x = 1'); file.mentions('dropout'); before = 'libcst' in sys.modules;"
            "list(file.calls); print(json.dumps([before, 'libcst' in sys.modules]))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [False, True]


class TestPruning:
    def test_short_files_are_left_as_they_are(self) -> None:
        text = "a = 1\n" * 10
        assert pruned(text, ast.parse(text)) is text

    def test_long_ones_keep_what_matters_where_it_is(self) -> None:
        parts = (
            "import torch\n",
            "".join(f"x{number} = {number}\n" for number in range(LONG)),
            "def rate():\n    return 0.5\n",
            "@decorated\ndef drop(x):\n    return F.dropout(x, rate())\n",
            "def other():\n    return 1\n",
            "class Net(Base):\n    def forward(self, x):\n        return drop(x)\n",
            "class Base(nn.Module):\n    pass\n",
        )
        text = "".join(parts)
        kept = pruned(text, ast.parse(text))
        assert kept.count("\n") == text.count("\n")
        empty = [parts[1], parts[4]]
        assert kept == "".join("\n" * part.count("\n") if part in empty else part for part in parts)
