"""Rules over the text of files, and what captured models say about what they suspect there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import dropcheck
from dropcheck.graph import Graph, Node, Site
from dropcheck.ops import Dropout, Input, Op
from dropcheck.reading import Reading, Witness, read, reading, reconciled
from dropcheck.result import ErrorKind
from dropcheck.rule import Example, Finding, Rule, Severity
from dropcheck.rules import BUILTIN
from dropcheck.syntax import SourceFile

HEADER = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n\n"


def at(line: int, last: int | None = None) -> Site:
    return Site("nets.py", line, 5, last or line, 25)


def finding(code: str, line: int, model: str = "nets.py", **given: Any) -> Finding:
    plain = Finding(code, "a-rule", Severity.ERROR, "a fact", "a cure", at(line), model, "Net.forward/dropout")
    return replace(plain, **given)


def graph(*nodes: tuple[Site | None, Site | None, bool | None]) -> Graph:
    """Dropouts with site, construction and whether they stay random."""
    drawn = (
        Node(f"d{number}", f"d{number}", Dropout("dropout", 0.5), ("x",), site=site, built=built, random_in_eval=random)
        for number, (site, built, random) in enumerate(nodes)
    )
    return Graph((Node("x", "", Input()), *drawn))


class Complains(Rule):
    """Finds every call, and fails at the first one of fail().

    ## Use instead
    Silence.
    """

    code: ClassVar[str] = "DC900"
    name: ClassVar[str] = "complains"
    examples: ClassVar[tuple[Example, ...]] = (Example("one", "f()"), Example("none", "x"))

    def read(self, file: SourceFile) -> Iterator[Finding]:
        for call in file.calls:
            if call.called == "fail":
                raise ZeroDivisionError("nothing to divide")
            yield self.remark(file, call.scope.qualname, call.called, call.site, Severity.INFO, "a call")


class TestRead:
    def test_a_finding_names_function_and_call(self) -> None:
        (found,) = read(SourceFile("a.py", "class A:\n    def f(self):\n        g(1)\n"), [Complains()]).findings
        assert (found.model, found.op, found.help) == ("a.py", "A.f/g", "Silence.")
        assert found.site == Site("a.py", 3, 9, 3, 13)

    def test_a_rule_that_fails_is_named_with_the_file_and_others_still_run(self) -> None:
        class Other(Complains):
            __doc__ = Complains.__doc__
            code = "DC901"

            def read(self, file: SourceFile) -> Iterator[Finding]:
                yield from Complains.read(self, SourceFile(file.path, "f()"))

        result = read(SourceFile("a.py", "g()\nfail()\n"), [Complains(), Other()])
        assert [one.code for one in result.findings] == ["DC901"]
        (error,) = result.errors
        assert (error.path, error.kind) == ("a.py", ErrorKind.INTERNAL)
        assert error.message == "rule DC900 failed with ZeroDivisionError: nothing to divide"
        assert "--ignore DC900" in error.hint
        assert "Traceback" in error.details

    def test_what_cannot_be_parsed_is_said_once(self) -> None:
        result = read(SourceFile("a.py", "F.dropout(x\n"), [Complains(), Complains()])
        assert [(one.kind, one.message) for one in result.errors] == [
            (ErrorKind.SYNTAX, "line 1: '(' was never closed")
        ]

    @pytest.mark.parametrize(
        ("head", "encoding"),
        [
            ("", "utf-8"),
            ("", "utf-8-sig"),
            ("# -*- coding: latin-1 -*-\n", "latin-1"),
            ("# coding: cp1252\n", "cp1252"),
        ],
    )
    def test_files_in_the_encoding_they_declare(self, head: str, encoding: str, tmp_path: Path) -> None:
        file = tmp_path / "a.py"
        file.write_bytes(f"{head}x = 'äöü', g(1)\n".encode(encoding))
        with reading([str(file), str(tmp_path / "missing.py"), str(file)], [Complains()]) as results:
            result = results()
        assert [one.site.column for one in result.findings if one.site] == [12]
        assert result.errors == ()


class TestWitness:
    @pytest.mark.parametrize(
        ("states", "silent"),
        [((), False), ((False,), True), ((False, False), True), ((False, True), False), ((False, None), False)],
    )
    def test_denies_what_is_off_in_every_run(self, states: tuple[bool | None, ...], silent: bool) -> None:
        witness = Witness([graph(*((at(7), None, state) for state in states))])
        for code in ("DC501", "DC503"):
            rest, _ = reconciled(Reading((finding(code, 7),)), (), witness)
            assert rest == (() if silent else (finding(code, 7),))

    def test_a_mask_is_judged_where_it_is_applied(self) -> None:
        witness = Witness([graph((at(9), None, False))])
        assert witness.denies(finding("DC501", 7, built=at(9)))
        assert not witness.denies(finding("DC501", 7))

    def test_a_layer_that_is_called_is_not_unused(self) -> None:
        witness = Witness([graph((at(20), at(7), False))])
        assert witness.denies(finding("DC505", 7))
        assert not witness.denies(finding("DC505", 20))

    def test_a_layer_out_of_reach_is_judged_by_its_construction(self) -> None:
        unreached = finding("DC506", 7)
        assert Witness([graph((at(20), at(7), False))]).denies(unreached)
        assert not Witness([graph((at(7), at(5), False))]).denies(unreached)

    def test_only_what_draws_is_asked(self) -> None:
        ops: tuple[Op, ...] = (Input(),)
        nodes = tuple(Node(str(number), "", op, site=at(7)) for number, op in enumerate(ops))
        assert not Witness([Graph(nodes)]).denies(finding("DC501", 7))


class TestReconciled:
    def test_a_fault_that_both_see_has_the_sentence_of_the_text_and_the_model(self) -> None:
        told = finding("DC501", 7, message="left out")
        seen = finding("DC501", 7, "nets.py:Net", op="body/dropout", message="it drops", site=at(6, 8))
        rest, confirmed = reconciled(Reading((told,)), (seen, replace(seen, op="body/dropout_1")), Witness(()))
        assert rest == ()
        assert [(one.model, one.op, one.message, one.site) for one in confirmed] == [
            ("nets.py:Net", "body/dropout", "left out", at(7)),
            ("nets.py:Net", "body/dropout_1", "left out", at(7)),
        ]

    def test_other_codes_and_lines_stay_apart(self) -> None:
        told = (finding("DC503", 7), finding("DC501", 8))
        seen = finding("DC501", 7, "nets.py:Net")
        assert reconciled(Reading(told), (seen,), Witness(())) == (told, (seen,))

    def test_a_layer_made_anew_is_not_reached_either(self) -> None:
        told = finding("DC502", 7, built=at(9))
        rest, confirmed = reconciled(Reading((told,)), (finding("DC506", 9, "nets.py:Net"),), Witness(()))
        assert (rest, [one.code for one in confirmed]) == ((), ["DC502"])

    def test_a_call_of_a_layer_out_of_reach_belongs_to_its_class(self) -> None:
        told = Reading((finding("DC506", 7),), classes={"nets.py": ((2, "Net"), (40, "Other"))})
        seen = [finding("DC506", line, "nets.py:Net") for line in (20, 50)]
        rest, confirmed = reconciled(told, seen, Witness(()))
        assert (rest, [one.site for one in confirmed]) == ((), [at(7), at(50)])

    def test_a_train_that_cuts_all_layers_off_is_one_fault(self) -> None:
        cut = finding("DC506", 7, op="Net.train/train")
        told = Reading((cut,), classes={"nets.py": ((2, "Net"), (40, "Block"))})
        seen = [finding("DC506", 3, "nets.py:Net", built=at(20)), finding("DC506", 50, "nets.py:Net", built=at(60))]
        assert [one.site for one in reconciled(told, seen, Witness(()))[1]] == [at(7), at(7)]
        (other,) = reconciled(told, [finding("DC506", 50, "nets.py:Block", built=at(60))], Witness(()))[1]
        assert other.site == at(50)


NETS = """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drops = nn.Linear(8, 8), [nn.Dropout(0.1)]

    def forward(self, x):
        rate = settings(self)
        x = F.dropout(self.drops[0](self.fc(x)), 0.5)
        x = F.dropout(x, 0.3, training=asked(self))
        x = x * (torch.rand_like(x) > 0.2 if settings(self) else 1.0)
        return nn.Dropout(0.4)(x)


def asked(net):
    return vars(net)["training"]


def settings(net):
    return True


class Unused(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size.some.thing

    def forward(self, x):
        return F.dropout(x, 0.5)
"""


def linted(directory: Path, *arguments: str, code: int = 1, **files: str) -> list[tuple[str, int, str]]:
    """Code, line and operation of each finding of a run over files."""
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "dropcheck", "lint", "--format", "json", "--select", "DC5", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, check=False)
    assert done.returncode == code, done.stderr
    return [(one["code"], one["location"]["line"], one["op"]) for one in json.loads(done.stdout)["findings"]]


IN_A_LIST = """class Drop(nn.Dropout):
    pass


class DropPath(nn.Module):
    def forward(self, x):
        return x * (torch.rand(x.shape[0], 1) > 0.2) / 0.8 if self.training else x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drops = nn.Linear(8, 8), [DropPath(), Drop(0.1)]

    def forward(self, x):
        return self.drops[1](self.drops[0](self.fc(x)))
"""


class TestRuns:
    def test_layers_of_ones_own_out_of_reach_are_one_fault_and_its_baseline_holds_for_text_alone(
        self, tmp_path: Path
    ) -> None:
        found = linted(tmp_path, "nets.py", "--write-baseline", "known.json", code=0, nets=HEADER + IN_A_LIST)
        assert found == []
        found = linted(tmp_path, "nets.py", nets=HEADER + IN_A_LIST)
        assert [(code, line) for code, line, _ in found] == [("DC506", 17)]
        assert linted(tmp_path, "nets.py", "--static", "--baseline", "known.json", code=0) == []

    def test_each_fault_once_whether_built_or_not(self, tmp_path: Path) -> None:
        found = linted(tmp_path, "nets.py", code=3, nets=HEADER + NETS)
        assert [(code, line) for code, line, _ in found] == [
            ("DC506", 8),
            ("DC501", 12),
            ("DC501", 14),
            ("DC502", 15),
            ("DC501", 32),
        ]
        assert [op for *_, op in found] == ["/dropout", "/dropout_1", "/mul", "/dropout_3", "Unused.forward/dropout"]

    def test_the_same_without_running_anything(self, tmp_path: Path) -> None:
        text = HEADER + "raise SystemExit('it was run')\n" + NETS
        found = linted(tmp_path, "nets.py", "--static", nets=text)
        assert [(code, line) for code, line, _ in found] == [
            ("DC506", 9),
            ("DC501", 13),
            ("DC501", 15),
            ("DC502", 16),
            ("DC501", 33),
        ]

    def test_a_target_brings_its_own_findings_alone(self, tmp_path: Path) -> None:
        found = linted(tmp_path, "nets.py:Net", nets=HEADER + NETS)
        assert [line for _, line, _ in found] == [8, 12, 14, 15]

    def test_so_does_one_of_a_module(self, tmp_path: Path) -> None:
        assert linted(tmp_path, "nets:Net", nets=HEADER + NETS) == linted(tmp_path, "nets.py:Net", nets=HEADER + NETS)

    def test_files_without_models_are_read(self, tmp_path: Path) -> None:
        helper = HEADER + "def drop(x, p):\n    return F.dropout(x, p)\n"
        assert linted(tmp_path, ".", helper=helper) == [("DC501", 6, "drop/dropout")]

    def test_comments_silence_them(self, tmp_path: Path) -> None:
        helper = HEADER + "def drop(x, p):\n    return F.dropout(x, p)  # dropcheck: ignore[DC501] -- meant\n"
        assert linted(tmp_path, ".", code=0, helper=helper) == []


def test_a_path_in_python_too(tmp_path: Path) -> None:
    file = tmp_path / "helper.py"
    file.write_text(HEADER + "def drop(x, p):\n    return F.dropout(x, p)\n")
    assert [one.code for one in dropcheck.lint(file).findings] == ["DC501"]


def test_a_live_model_has_no_text() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.dropout(x, 0.5)

    report = dropcheck.lint(Net(), torch.ones(2, 8), select="DC5")
    assert [(one.code, one.op) for one in report.findings] == [("DC501", "/dropout")]


def test_rules_that_read_are_the_source_rules() -> None:
    assert [rule.code for rule in BUILTIN if rule.reads] == [f"DC50{number}" for number in range(1, 7)]
