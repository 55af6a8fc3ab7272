"""Every rule: its examples through the real capture, its documentation, and its judgement on hand-drawn graphs."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from graphs import bn, chain, conv, draw, dropout, global_pool, linear, max_pool, node, relu
from torch import nn

import dropcheck.rules
from dropcheck.capture import ExampleInput, capture, construction_sites
from dropcheck.encounter import shown
from dropcheck.graph import Graph
from dropcheck.ops import Granularity, Input, MatMul, Recurrent
from dropcheck.reading import Witness, read, reconciled
from dropcheck.rule import Example, Finding, Rule, Severity, Subject, Thresholds
from dropcheck.rules import BUILTIN
from dropcheck.rules.dc101_dropout_before_batchnorm import DropoutBeforeBatchNorm
from dropcheck.rules.dc102_dropout_before_weight_before_batchnorm import DropoutBeforeWeightBeforeBatchNorm
from dropcheck.shift import Evidence, NormShift, Shifts, Source, predict
from dropcheck.syntax import SourceFile

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
EXAMPLES = [
    pytest.param(rule, example, id=f"{rule.code}: {example.title}") for rule in BUILTIN for example in rule.examples
]
CASES = [case for case in EXAMPLES if case.values[0].checks]
READ = [case for case in EXAMPLES if case.values[0].reads]


def loader(source: str, directory: Path) -> Callable[[], tuple[nn.Module, dict[str, Any]]]:
    """Builds the ``net`` or ``Net()`` of a model file, and its construction sites."""
    file = directory / "net.py"
    file.write_text(HEADER + source)
    linecache.checkcache(str(file))
    code = compile(HEADER + source, str(file), "exec")

    def build() -> tuple[nn.Module, dict[str, Any]]:
        namespace: dict[str, Any] = {"__name__": "net"}
        with construction_sites() as built:
            exec(code, namespace)
            net = namespace["net"] if "net" in namespace else namespace["Net"]()
        return net, dict(built.by_path(net))

    return build


def example_input(spec: str) -> ExampleInput:
    return ExampleInput((torch.randn([int(size) for size in spec.split("x")]),), spec=spec)


def captured(example: Example, directory: Path, how: str | None) -> Graph:
    """The example's graph. A forward bound to the instance is what symbolic tracing leaves to a recorded run."""
    build = loader(example.source, directory)
    net, built = build()
    if how == "record":
        net.forward = MethodType(type(net).forward, net)
    inputs = [] if example.input is None else [example_input(example.input)]
    result = capture(net, inputs, twin=lambda: build()[0], built=built)
    assert how is None or result.how == how
    return result.graph


def weighed(graph: Graph, weights: Mapping[str, float]) -> Shifts:
    """What an example says of trained weights; norms it does not speak of are not shifted."""
    norms = {}
    for norm in filter(lambda each: each.remembers, graph):
        dropouts = [name for name in graph.flow.before(norm.name) if graph[name].drops]
        delta = weights.get(norm.path, 1.0)
        alone = 1.0 + (delta - 1.0) / max(1, len(dropouts))
        sources = tuple(Source(name, 1.0 / len(dropouts), alone) for name in dropouts)
        norms[norm.name] = NormShift(norm.name, delta, sources)
    return Shifts(Evidence.WEIGHTS, norms)


def lines(rule: Rule, example: Example, graph: Graph) -> tuple[str, ...]:
    """The findings as examples write them, those in the text held against the graph."""
    shifts = weighed(graph, example.weights) if example.weights else predict(graph)
    found = tuple(rule.check(Subject("net.py:Net", graph, shifts, Thresholds())))
    if rule.reads:
        path = next(node.site.path for node in graph if node.site is not None)
        reading = read(SourceFile(path, HEADER + example.source), [rule])
        told, confirmed = reconciled(reading, found, Witness([graph]))
        found = (*told, *confirmed)
    return written(found)


def written(found: Iterable[Finding]) -> tuple[str, ...]:
    shift = HEADER.count("\n")
    ordered = sorted(found, key=lambda one: one.site.line if one.site else 0)
    return tuple(
        dict.fromkeys(f"{one.site.line - shift if one.site else '?'}: {one.severity} {one.message}" for one in ordered)
    )


@pytest.mark.parametrize(("rule", "example"), CASES)
def test_example(rule: Rule, example: Example, tmp_path: Path) -> None:
    how = None if rule.reads else "fx"  # layers that are not registered cannot be traced
    assert lines(rule, example, captured(example, tmp_path, how)) == example.expect


@pytest.mark.parametrize(("rule", "example"), [case for case in CASES if case.values[1].input is not None])
def test_example_recorded(rule: Rule, example: Example, tmp_path: Path) -> None:
    assert lines(rule, example, captured(example, tmp_path, "record")) == example.expect


@pytest.mark.parametrize(("rule", "example"), READ)
def test_example_read(rule: Rule, example: Example) -> None:
    assert written(rule.read(SourceFile("net.py", HEADER + example.source))) == example.expect


class TestDocumentation:
    def test_every_rule_file_is_built_in_and_named_after_its_rule(self) -> None:
        files = sorted(path.stem for path in Path(dropcheck.rules.__file__).parent.glob("dc*.py"))
        assert [f"{rule.code.lower()}_{rule.name.replace('-', '_')}" for rule in BUILTIN] == files

    @pytest.mark.parametrize("rule", BUILTIN, ids=lambda rule: rule.code)
    def test_sections_in_order(self, rule: Rule) -> None:
        info = rule.info()
        headings = [line[3:] for line in info.documentation.splitlines() if line.startswith("## ")]
        options = ["Options"] * ("Options" in headings)
        expected = ["What it does", "Why is this bad", "Example", "Use instead", "Near misses", *options, "Source"]
        assert headings == expected
        assert info.documentation.startswith(f"## What it does\n{info.summary}\n")
        assert info.summary.endswith(".")

    @pytest.mark.parametrize("rule", BUILTIN, ids=lambda rule: rule.code)
    def test_help_is_the_first_paragraph_of_the_remedy_on_one_line(self, rule: Rule) -> None:
        info = rule.info()
        remedy = info.documentation.partition("## Use instead\n")[2].partition("\n\n")[0]
        assert info.help == remedy.replace("\n", " ")

    @pytest.mark.parametrize("rule", BUILTIN, ids=lambda rule: rule.code)
    def test_shows_what_triggers_and_then_its_corrected_twin(self, rule: Rule) -> None:
        triggering, corrected = rule.examples[:2]
        assert triggering.expect
        assert not corrected.expect
        example, remedy = rule.info().documentation.split("## Use instead")
        assert triggering.source.strip() in example.partition("## Example")[2]
        assert corrected.source.strip() in remedy

    @pytest.mark.parametrize("rule", BUILTIN, ids=lambda rule: rule.code)
    def test_has_two_hits_and_two_near_misses_at_least(self, rule: Rule) -> None:
        hits = sum(bool(example.expect) for example in rule.examples)
        assert hits >= 2
        assert len(rule.examples) - hits >= 3

    def test_undocumented_rule_is_refused(self) -> None:
        class Bare(Rule):
            """Says nothing of a remedy."""

            examples = BUILTIN[0].examples

            def check(self, subject: Subject) -> Iterator[Finding]:
                yield from ()

        with pytest.raises(ValueError, match=r"^Bare needs a section '## Use instead' and two examples"):
            Bare().info()


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (1.0, "info"),
        (0.96, "info"),
        (1 / 1.05, "warning"),
        (1.05, "warning"),
        (0.81, "warning"),
        (0.8, "error"),
        (1.0 - 0.2 + 2e-16, "error"),  # as arithmetic has it
        (0.8001, "warning"),
        (1.25, "error"),
        (0.0, "error"),
    ],
)
def test_severity_follows_the_shift_ratio(delta: float, expected: str) -> None:
    assert Thresholds().severity(delta) == expected
    assert Thresholds().severity(delta, at_most=Severity.WARNING) == min(
        expected, "warning", key=("info", "warning", "error").index
    )


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.5, "0.50"), (0.0, "0.00"), (1.0, "1.00"), (0.125, "0.125"), (1 / 30, "0.0333"), (0.1 + 0.2, "0.30")],
)
def test_drop_rate_is_shown_as_it_is(rate: float, text: str) -> None:
    assert shown(dropout(rate, "DropPath")) == f"DropPath({text})"


def told(graph: Graph, evidence: Evidence = Evidence.PRIOR, **deltas: float | None) -> Subject:
    """A subject whose norms shift by the given Δ each, all of it due to the dropout ``d``."""
    norms = {name: NormShift(name, delta, (Source("d", 1.0, delta or 0.9),)) for name, delta in deltas.items()}
    return Subject("net.py:Net", graph, Shifts(evidence, norms), Thresholds())


def codes(subject: Subject) -> list[tuple[str, str, str | None, float | None]]:
    return [(one.code, one.severity, one.norm, one.delta) for rule in BUILTIN for one in rule.check(subject)]


class TestJudgement:
    def test_no_weight_layer_between(self) -> None:
        graph = chain(d=dropout(0.3), r=relu(), n=bn())
        (found,) = DropoutBeforeBatchNorm().check(told(graph, n=0.7))
        assert (found.op, found.norm, found.site, found.evidence) == ("d", "n", graph["d"].site, Evidence.PRIOR)
        assert (found.model, found.severity, found.help) == (
            "net.py:Net",
            "error",
            DropoutBeforeBatchNorm().info().help,
        )

    @pytest.mark.parametrize(("delta", "severity"), [(0.7, "error"), (0.9, "warning"), (0.99, "info")])
    def test_case_a_is_reported_at_any_shift(self, delta: float, severity: str) -> None:
        assert codes(told(chain(d=dropout(0.3), n=bn()), n=delta)) == [("DC101", severity, "n", delta)]

    def test_case_b_is_at_most_a_warning_without_evidence_and_silent_when_wide(self) -> None:
        graph = chain(d=dropout(0.3), w=conv(), n=bn())
        assert codes(told(graph, n=0.5)) == [("DC102", "warning", "n", 0.5)]
        assert codes(told(graph, Evidence.WEIGHTS, n=0.5))[0] == ("DC102", "error", "n", 0.5)
        assert codes(told(graph, n=0.97)) == []

    def test_a_max_pool_is_neither_case(self) -> None:
        for graph in (
            chain(d=dropout(0.3), p=max_pool(), n=bn()),
            chain(d=dropout(0.3), w=conv(), p=max_pool(), n=bn()),
        ):
            assert codes(told(graph, n=0.5)) == [("DC103", "warning", "n", 0.5)]
            assert codes(told(graph, n=0.99)) == [("DC103", "info", "n", 0.99)]

    def test_unknown_shift_is_not_guessed(self) -> None:
        for ops in ({}, {"w": conv()}, {"p": max_pool()}):
            assert codes(told(chain(d=dropout(0.3), **ops, n=bn()), n=None)) == []

    def test_one_finding_per_dropout_at_its_worst_norm(self) -> None:
        nodes = {f"n{i}": node(bn(), "d") for i in range(4)}
        graph = draw(x=node(Input()), d=node(dropout(0.3), "x"), **nodes)
        (found,) = DropoutBeforeBatchNorm().check(told(graph, n0=0.9, n1=0.6, n2=0.8, n3=None))
        assert (found.norm, found.delta) == ("n1", 0.6)
        assert found.message.startswith("Dropout(0.30) feeds batch norm 'n1' (and 2 more) directly: ")

    def test_shift_above_one_counts_by_its_ratio(self) -> None:
        graph = draw(x=node(Input()), d=node(dropout(0.3), "x"), a=node(bn(), "d"), b=node(bn(), "d"))
        (found,) = DropoutBeforeBatchNorm().check(told(graph, a=0.7, b=2.0))
        assert found.norm == "b"
        assert found.message.endswith("its running variance will be 0.50x what evaluation sees (Δ = 2.00)")

    def test_stochastic_depth_has_its_own_rule(self) -> None:
        for ops in ({}, {"w": conv()}, {"p": max_pool()}):
            graph = chain(d=dropout(0.5, "DropPath", Granularity.SAMPLE), **ops, n=bn())
            assert codes(told(graph, n=0.5)) == [("DC105", "warning", "n", 0.5)]
            assert codes(told(graph, n=0.97)) == []

    def test_a_rate_of_one_is_no_noise_but_too_high(self) -> None:
        found = codes(told(chain(d=dropout(1.0), n=bn()), n=1e6))
        assert found == [("DC110", "warning", "n", None), ("DC111", "warning", None, None)]

    def test_dropout_inside_a_recurrent_layer_is_no_dropout_layer(self) -> None:
        graph = chain(d=Recurrent("LSTM", 64, layers=2, drop_rate=0.5), n=bn())
        assert codes(told(graph, n=0.5)) == []

    def test_weight_layer_of_unknown_width_is_called_assumed(self) -> None:
        graph = chain(d=dropout(0.3), w=MatMul(), v=conv(), n=bn())
        (found,) = DropoutBeforeWeightBeforeBatchNorm().check(told(graph, n=0.5))
        assert " through 'w' and 1 more (d = 256 assumed, " in found.message

    def test_high_drop_rate_does_not_depend_on_the_shift(self) -> None:
        graph = chain(d=dropout(0.5), w=conv(), n=bn())
        assert codes(told(graph, n=0.999)) == [("DC110", "warning", "n", None)]

    def test_head_without_an_activation_ahead_of_the_pool_has_no_sure_order(self) -> None:
        graph = chain(w=conv(), p=global_pool(), d=dropout(0.3), fc=linear())
        assert codes(told(graph)) == []
        graph = chain(w=conv(), r=relu(), p=global_pool(), d=dropout(0.3), fc=linear())
        assert codes(told(graph)) == [("DC301", "info", None, None)]
