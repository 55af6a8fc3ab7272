"""How rules are chosen and run, and how their findings become one report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from dropcheck.engine import UnknownCode, conclude, enabled, examine
from dropcheck.graph import Graph, Node, Site
from dropcheck.job import CapturedModel
from dropcheck.merge import grouped
from dropcheck.ops import Attention, BatchNorm, Dropout, Input, Opaque, Output, Weight
from dropcheck.result import AnalysisError, ErrorKind, ModelReport, Status
from dropcheck.rule import Example, Finding, Rule, Severity, Subject, Thresholds


def at(line: int, column: int = 9, path: str = "nets.py") -> Site:
    return Site(path, line, column, line, column + 4)


GRAPH = Graph(
    (
        Node("x", "", Input()),
        Node("fc", "fc", Weight("Linear", fan_in=64), ("x",), site=at(3)),
        Node("drop", "drop", Dropout("Dropout", 0.5), ("fc",), site=at(4)),
        Node("odd", "odd", Opaque("pkg.mystery"), ("x",)),
        Node("again", "odd", Opaque("pkg.mystery"), ("odd",)),
        Node("attn", "attn", Attention("MultiheadAttention", 64, drop_rate=0.1), ("fc",), site=at(5)),
        Node("quiet", "quiet", Attention("MultiheadAttention", 64), ("fc",)),
        Node("bn", "bn", BatchNorm("BatchNorm1d", 64), ("drop",), site=at(6)),
        Node("out", "", Output(), ("bn",)),
    )
)
MODEL = CapturedModel("nets.py:Net", Status.ANALYSED, capture="fx", arguments="width=8", input="32x64", graph=GRAPH)


class Marks(Rule):
    """Finds every dropout.

    ## Use instead
    Nothing.
    """

    code: ClassVar[str] = "DC900"
    name: ClassVar[str] = "marks-dropout"
    examples: ClassVar[tuple[Example, ...]] = (Example("one", "drop"), Example("none", "keep"))

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in subject.graph:
            if node.drops:
                yield finding(code=self.code, site=node.site, model=subject.target, op=node.path)


class Breaks(Marks):
    """Finds one dropout and then fails."""

    code = "DC901"
    name = "breaks"

    def check(self, subject: Subject) -> Iterator[Finding]:
        yield from super().check(subject)
        raise ZeroDivisionError("nothing to divide")


def finding(**given: Any) -> Finding:
    plain = Finding("DC101", "a-rule", Severity.WARNING, "a fact", "a cure", at(4), "nets.py:Net", "drop")
    return replace(plain, **given)


class Coded(Marks):
    """A rule known by its code only."""

    def __init__(self, code: str) -> None:
        self.code = code  # type: ignore[misc]


CODES = tuple(Coded(code) for code in ("DC101", "DC102", "DC110", "DC301"))


@pytest.mark.parametrize(
    ("select", "ignore", "left"),
    [
        ((), (), "DC101 DC102 DC110 DC301"),
        (("DC1",), (), "DC101 DC102 DC110"),
        (("DC10", "DC301"), (), "DC101 DC102 DC301"),
        ((), ("DC10",), "DC110 DC301"),
        (("DC1",), ("DC102",), "DC101 DC110"),
        (("DC102",), ("DC1",), "DC102"),
        (("DC102",), ("DC102",), ""),
        (("DC",), ("DC",), ""),
    ],
)
def test_the_longest_prefix_decides_and_ignore_wins_a_tie(
    select: tuple[str, ...], ignore: tuple[str, ...], left: str
) -> None:
    assert " ".join(rule.code for rule in enabled(CODES, select, ignore)) == left


@pytest.mark.parametrize(
    ("prefix", "complaint"),
    [
        ("DC302", "no rule's code starts with 'DC302'; did you mean 'DC301'?"),
        ("dc110", "no rule's code starts with 'dc110'; did you mean 'DC110'?"),
        ("", "no rule's code starts with ''; choose from DC101, DC102, DC110, DC301"),
    ],
)
def test_a_prefix_of_no_rule_is_an_error(prefix: str, complaint: str) -> None:
    for select, ignore in (([prefix], []), (["DC101"], [prefix])):
        with pytest.raises(UnknownCode) as caught:
            enabled(CODES, select, ignore)
        assert str(caught.value) == complaint


def test_a_model_is_described_by_its_graph() -> None:
    model = examine(MODEL, (), Thresholds()).model
    assert (model.target, model.capture, model.arguments, model.input) == ("nets.py:Net", "fx", "width=8", "32x64")
    assert model.ops == 7
    assert model.opaque == ("pkg.mystery",)
    assert [(norm.name, norm.kind, norm.site) for norm in model.norms] == [("bn", "BatchNorm1d", at(6))]
    assert [(blame.dropout, blame.share) for blame in model.norms[0].sources] == [("drop", 1.0)]
    assert model.norms[0].delta == pytest.approx(0.5)
    assert [(drop.name, drop.kind, drop.drop_rate) for drop in model.dropouts] == [
        ("drop", "Dropout", 0.5),
        ("attn", "MultiheadAttention", 0.1),
    ]


def test_a_model_without_graph_keeps_its_reason_and_meets_no_rule() -> None:
    skipped = CapturedModel("nets.py:Net", Status.SKIPPED, reason="argument 'width' is not known", by_design=True)
    examined = examine(skipped, (Breaks(),), Thresholds())
    assert examined.model == ModelReport(
        "nets.py:Net", Status.SKIPPED, reason="argument 'width' is not known", by_design=True
    )
    assert (examined.findings, examined.errors) == ((), ())


def test_a_rule_that_raises_is_named_and_the_others_still_run() -> None:
    examined = examine(MODEL, (Breaks(), Marks()), Thresholds())
    assert [found.code for found in examined.findings] == ["DC900"]
    (error,) = examined.errors
    assert error.kind is ErrorKind.INTERNAL
    assert error.path == "nets.py:Net"
    assert error.message == "rule DC901 failed with ZeroDivisionError: nothing to divide"
    assert "--ignore DC901" in error.hint
    assert "Traceback" in error.details


def test_instances_of_one_line_become_one_finding_with_the_worst_shift() -> None:
    found = [
        finding(op="blocks.0.drop", delta=0.9),
        finding(op="blocks.1.drop", delta=0.4, severity=Severity.ERROR),
        finding(op="blocks.2.drop", delta=2.6, model="nets.py:Other"),
        finding(op="blocks.0.drop", code="DC110"),
        finding(op="stem", site=at(4, column=30)),
    ]
    first, second, third = grouped(found)
    assert (first.op, first.delta, first.occurrences) == ("blocks.1.drop", 0.4, 3)
    assert (second.code, second.occurrences) == ("DC110", 1)
    assert (third.op, third.occurrences) == ("stem", 1)


def test_a_delta_of_zero_is_the_worst_of_all() -> None:
    (worst,) = grouped([finding(delta=0.1), finding(delta=0.0, op="all"), finding(delta=None)])
    assert worst.op == "all"


def test_findings_without_a_site_stay_apart() -> None:
    found = grouped([finding(site=None, op="a"), finding(site=None, op="b"), finding(site=None, op="a")])
    assert [(one.op, one.occurrences) for one in found] == [("a", 2), ("b", 1)]


def test_findings_are_sorted_by_place_then_code() -> None:
    ordered = [
        finding(site=at(9, path="a.py")),
        finding(site=None),
        finding(site=at(4)),
        finding(site=at(4), code="DC110"),
        finding(site=at(4, column=20)),
        finding(site=at(10)),
    ]
    assert [replace(one, fingerprint="") for one in grouped(reversed(ordered))] == ordered


def test_a_fingerprint_outlives_moved_lines_and_new_numbers() -> None:
    (before,) = grouped([finding(delta=0.4), finding(delta=0.5, op="later")])
    (after,) = grouped([finding(site=at(40), delta=0.6, message="other"), finding(site=at(40), delta=0.3, op="later")])
    assert before.fingerprint == after.fingerprint
    assert len(before.fingerprint) == 16


@pytest.mark.parametrize(
    "other",
    [
        finding(code="DC102"),
        finding(op="drop2"),
        finding(model="nets.py:Other"),
        finding(site=at(4, path="other.py")),
    ],
)
def test_different_findings_have_different_fingerprints(other: Finding) -> None:
    (one,), (two,) = grouped([finding()]), grouped([other])
    assert one.fingerprint != two.fingerprint


def test_a_layer_called_on_two_lines_has_two_fingerprints() -> None:
    one, two = grouped([finding(site=at(4)), finding(site=at(7))])
    assert one.fingerprint != two.fingerprint


def test_the_report_does_not_depend_on_the_order_of_the_answers() -> None:
    models = [replace(MODEL, target=f"nets.py:{name}") for name in ("A", "B", "C")]
    errors = [AnalysisError(path, ErrorKind.SYNTAX, "bad", "mend it") for path in ("a.py", "b.py")]
    rules = (Marks(),)
    examined = [examine(model, rules, Thresholds()) for model in models]
    report = conclude(examined, errors, rules, files=2)
    assert report == conclude(reversed(examined), reversed(errors * 2), rules, files=2)
    assert [model.target for model in report.models] == ["nets.py:A", "nets.py:B", "nets.py:C"]
    assert [(one.model, one.occurrences) for one in report.findings] == [("nets.py:A", 3)]
    assert [info.code for info in report.rules] == ["DC900"]
    assert [error.path for error in report.errors] == ["a.py", "b.py"]
    assert report.files == 2
