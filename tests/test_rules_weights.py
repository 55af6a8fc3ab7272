"""Rules on what trained weights say, and on norms with many dropouts: hand-made shifts on hand-drawn graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import bn, chain, conv, draw, dropout, linear, max_pool, node, relu
from torch import nn

from dropcheck.graph import Graph
from dropcheck.node import Site
from dropcheck.ops import Add, Constant, Granularity, Input, MatMul, Op, Recurrent
from dropcheck.rule import Finding, Rule, Subject, Thresholds
from dropcheck.rules import BUILTIN
from dropcheck.shift import Evidence, LayerStatistics, NormShift, Shifts, Source

RULES: dict[str, Rule] = {rule.code: rule for rule in BUILTIN}
WEIGHTS, PRIOR, MEASURED = Evidence.WEIGHTS, Evidence.PRIOR, Evidence.MEASURED


def shift(delta: float | None, **alone: float) -> NormShift:
    """A norm's Δ, and what each dropout does to it alone; the shares go with the distance from 1."""
    total = sum(abs(one - 1.0) for one in alone.values())
    sources = [Source(name, abs(one - 1.0) / total, one) for name, one in alone.items()]
    sources.sort(key=lambda source: source.share, reverse=True)
    return NormShift("", delta, tuple(sources))


def subject(graph: Graph, evidence: Evidence = WEIGHTS, **norms: NormShift) -> Subject:
    named = {name: NormShift(name, one.delta, one.sources) for name, one in norms.items()}
    return Subject("net.py:Net", graph, Shifts(evidence, named), Thresholds())


def found(code: str, judged: Subject) -> list[Finding]:
    return list(RULES[code].check(judged))


def stream(count: int, *, drop: Op | None = None, one_line: bool = False) -> Graph:
    """``count`` dropouts d0, d1 … in branches of a residual stream, and a batch norm n behind every addition.

    n0 sees d0, n1 sees d0 and d1 … ``one_line``: all dropouts come from the same line of source.
    """
    nodes, last = {"x": node(Input())}, "x"
    for i in range(count):
        nodes |= {f"w{i}": node(conv(), last), f"d{i}": node(drop or dropout(0.1), f"w{i}")}
        nodes |= {f"a{i}": node(Add(), last, f"d{i}"), f"n{i}": node(bn(), f"a{i}")}
        last = f"a{i}"
    graph = draw(**nodes)
    if not one_line:
        return graph
    line = Site("net.py", 7, 1, 7, 9)
    return Graph(tuple(replace(each, site=line) if each.drops else each for each in graph))


def travelling() -> Graph:
    """A dropout, the norm that its noise meets, and one more behind that."""
    return chain(d=dropout(0.3), w=conv(), n=bn(), r=relu(), v=conv(), m=bn())


class TestEncounters:
    """What DC101 to DC103 make of trained weights."""

    @pytest.mark.parametrize(("code", "ops"), [("DC101", {}), ("DC102", {"w": conv()}), ("DC103", {"p": max_pool()})])
    def test_only_the_code_alone_limits_the_severity(self, code: str, ops: dict[str, Op]) -> None:
        graph = chain(d=dropout(0.3), **ops, n=bn())
        for evidence in (WEIGHTS, MEASURED):
            assert [one.severity for one in found(code, subject(graph, evidence, n=shift(0.5, d=0.5)))] == ["error"]
        limited = "error" if code == "DC101" else "warning"
        assert [one.severity for one in found(code, subject(graph, PRIOR, n=shift(0.5, d=0.5)))] == [limited]

    def test_a_dropout_answers_for_its_own_part(self) -> None:
        graph = chain(a=dropout(0.1), w=conv(), b=dropout(0.3), n=bn())
        judged = subject(graph, n=shift(0.5, a=0.97, b=0.6))
        assert [(one.op, one.delta, one.severity) for one in found("DC101", judged)] == [("b", 0.6, "error")]
        assert found("DC102", judged) == []

    @pytest.mark.parametrize("code", ["DC101", "DC102", "DC103"])
    def test_a_norm_behind_another_is_not_met(self, code: str) -> None:
        assert found(code, subject(travelling(), n=shift(1.0), m=shift(0.5, d=0.5))) == []

    def test_case_b_names_the_numbers_its_shift_rests_on(self) -> None:
        graph = chain(d=dropout(0.3), w=conv(fan_in=576), n=bn())
        layers = {"w": LayerStatistics("w", "Conv2d", 576, 64, 0.05)}

        def told(judged: Subject) -> str:
            (one,) = found("DC102", judged)
            return one.message.partition(" through ")[2].partition(": its")[0]

        seen = subject(graph, n=shift(0.8, d=0.8))
        assert told(replace(seen, layers=layers)) == "'w' (d = 576, cos²θ = 0.050, d·cos²θ = 28.80)"
        assert told(seen) == "'w' (d = 576)"
        foreseen = subject(graph, PRIOR, n=shift(0.8, d=0.8))
        assert "cos²θ = 0.050" not in told(replace(foreseen, layers=layers))
        assert told(replace(foreseen, layers=layers)) == told(foreseen)
        assert told(subject(chain(d=dropout(0.3), w=MatMul(), n=bn()), n=shift(0.8, d=0.8))) == "'w' (d unknown)"

    def test_what_weights_show_is_said_in_the_present(self) -> None:
        graph = chain(d=dropout(0.3), n=bn())
        (seen,) = found("DC101", subject(graph, n=shift(0.5, d=0.5)))
        (foreseen,) = found("DC101", subject(graph, PRIOR, n=shift(0.5, d=0.5)))
        assert seen.message.endswith("its running variance is 2.00x what evaluation sees (Δ = 0.50)")
        assert foreseen.message == seen.message.replace(" is 2", " will be 2")


class TestAccumulatedShift:
    def test_names_the_norm_and_the_largest_share(self) -> None:
        (one,) = found("DC104", subject(stream(3), PRIOR, n2=shift(0.9, d0=0.98, d1=0.96, d2=0.97)))
        graph = stream(3)
        assert (one.norm, one.op, one.site, one.delta) == ("n2", "d1", graph["n2"].site, 0.9)
        assert (one.severity, one.evidence) == ("warning", PRIOR)
        assert one.message == (
            "batch norm 'n2' sees the noise of 3 dropouts add up, 44% of it from Dropout(0.10) 'd1': "
            "its running variance will be 1.11x what evaluation sees (Δ = 0.90)"
        )

    def test_severity_follows_the_sum_once_weights_are_known(self) -> None:
        quiet = dict.fromkeys(("d0", "d1", "d2"), 0.96)
        for evidence, severity in ((PRIOR, "warning"), (WEIGHTS, "error"), (MEASURED, "error")):
            assert [one.severity for one in found("DC104", subject(stream(3), evidence, n2=shift(0.7, **quiet)))] == [
                severity
            ]

    def test_silent_below_the_warning_threshold(self) -> None:
        assert found("DC104", subject(stream(3), n2=shift(0.96, d0=0.99, d1=0.99, d2=0.98))) == []

    def test_unknown_shift_is_not_guessed(self) -> None:
        assert found("DC104", subject(stream(3), n2=shift(None, d0=0.9, d1=0.9, d2=0.9))) == []

    def test_two_dropouts_are_not_many(self) -> None:
        assert found("DC104", subject(stream(2), PRIOR, n1=shift(0.93, d0=0.96, d1=0.96))) == []

    def test_a_dropout_that_is_as_serious_alone_has_been_reported(self) -> None:
        judged = subject(stream(3), PRIOR, n2=shift(0.8, d0=0.94, d1=0.96, d2=0.97))
        assert found("DC104", judged) == []
        assert [one.op for one in found("DC101", judged) if one.severity == "warning"] == ["d0"]

    def test_a_sum_more_serious_than_any_part_is_news(self) -> None:
        parts = {"d0": 0.93, "d1": 0.93, "d2": 0.93}
        assert found("DC104", subject(stream(3), PRIOR, n2=shift(0.79, **parts))) == []
        assert [one.severity for one in found("DC104", subject(stream(3), n2=shift(0.79, **parts)))] == ["error"]

    def test_silent_where_most_of_the_noise_is_reported_elsewhere(self) -> None:
        norms = {"n0": shift(0.9, d0=0.9), "n2": shift(0.92, d0=0.955, d1=0.98, d2=0.98)}
        assert found("DC104", subject(stream(3), **norms)) == []
        norms["n2"] = shift(0.92, d0=0.98, d1=0.97, d2=0.97)
        assert [one.norm for one in found("DC104", subject(stream(3), **norms))] == ["n2"]

    def test_a_line_is_reported_once_for_all_its_dropouts(self) -> None:
        norms = {"n0": shift(0.9, d0=0.9), "n2": shift(0.92, d1=0.97, d2=0.97)}
        norms["n3"] = shift(0.92, d1=0.97, d2=0.97, d3=0.97)
        assert [one.norm for one in found("DC104", subject(stream(4), **norms))] == ["n3"]
        assert found("DC104", subject(stream(4, one_line=True), **norms)) == []

    def test_counts_the_dropouts_too_small_to_be_named(self) -> None:
        (one,) = found("DC104", subject(stream(12), n11=shift(0.9, d0=0.98, d1=0.98, d2=0.98)))
        assert " the noise of 12 dropouts " in one.message

    def test_stochastic_depth_adds_up_as_well(self) -> None:
        graph = stream(3, drop=dropout(0.1, "DropPath", Granularity.SAMPLE))
        (one,) = found("DC104", subject(graph, PRIOR, n2=shift(0.79, d0=0.96, d1=0.96, d2=0.96)))
        assert " from DropPath(0.10) 'd0': " in one.message

    def test_shift_that_comes_through_another_norm(self) -> None:
        (one,) = found("DC104", subject(travelling(), n=shift(0.97, d=0.97), m=shift(1.4, d=1.4)))
        assert (one.norm, one.op, one.severity) == ("m", "d", "error")
        assert one.message.startswith("batch norm 'm' is shifted by way of earlier norms by Dropout(0.30) 'd': its ")

    def test_only_what_goes_beyond_the_first_norm_is_added(self) -> None:
        assert found("DC104", subject(travelling(), n=shift(0.5, d=0.5), m=shift(1.4, d=1.4))) == []
        assert found("DC104", subject(travelling(), n=shift(0.9, d=0.9), m=shift(1.1, d=1.1))) == []
        (one,) = found("DC104", subject(travelling(), n=shift(0.9, d=0.9), m=shift(1.4, d=1.4)))
        assert one.norm == "m"

    def test_part_of_the_shift_comes_through_another_norm(self) -> None:
        graph = chain(d=dropout(0.3), n=bn(), e=dropout(0.1), w=conv(), m=bn())
        (one,) = found("DC104", subject(graph, n=shift(0.97, d=0.97), m=shift(0.9, d=0.93, e=0.97)))
        assert (
            " is shifted partly by way of earlier norms by 2 dropouts, 70% of it by Dropout(0.30) 'd': " in one.message
        )

    def test_noise_from_within_another_layer_has_no_rate_of_its_own(self) -> None:
        graph = chain(d=Recurrent("LSTM", 64, layers=2, drop_rate=0.5), n=bn(), w=linear(), m=bn())
        (one,) = found("DC104", subject(graph, n=shift(0.97, d=0.97), m=shift(0.9, d=0.9)))
        assert one.message.startswith("batch norm 'm' is shifted by way of earlier norms by 'd': ")

    def test_noise_nobody_is_to_blame_for_is_left_alone(self) -> None:
        graph = draw(x=node(Input()), c=node(Constant(random=True)), a=node(Add(), "x", "c"), n=node(bn(), "a"))
        assert found("DC104", subject(graph, n=shift(0.5))) == []


class TestStochasticDepth:
    GRAPH = stream(3, drop=dropout(0.2, "StochasticDepth", Granularity.SAMPLE))

    def test_worst_norm_of_each(self) -> None:
        norms = {"n0": shift(0.9, d0=0.9), "n1": shift(0.8, d0=0.93, d1=0.85), "n2": shift(0.9, d0=0.96, d2=0.96)}
        seen = [(one.op, one.norm, one.delta, one.severity) for one in found("DC105", subject(self.GRAPH, **norms))]
        assert seen == [("d0", "n0", 0.9, "warning"), ("d1", "n1", 0.85, "warning")]

    @pytest.mark.parametrize(("evidence", "severity"), [(PRIOR, "warning"), (WEIGHTS, "error"), (MEASURED, "error")])
    def test_severity_follows_the_shift(self, evidence: Evidence, severity: str) -> None:
        (one,) = found("DC105", subject(self.GRAPH, evidence, n0=shift(0.7, d0=0.7)))
        assert (one.severity, one.norm, one.site) == (severity, "n0", self.GRAPH["d0"].site)
        assert one.message.startswith("StochasticDepth(0.20) drops a branch whose noise reaches batch norm 'n0': ")

    def test_says_what_all_of_them_do_where_that_is_more(self) -> None:
        (alone,) = found("DC105", subject(self.GRAPH, n0=shift(0.9, d0=0.9)))
        assert alone.message.endswith("its running variance is 1.11x what evaluation sees (Δ = 0.90)")
        (one, _) = found("DC105", subject(self.GRAPH, n1=shift(0.7, d0=0.9, d1=0.91)))
        assert one.message.endswith("1.11x what evaluation sees (Δ = 0.90), with all other dropouts Δ = 0.70")
        assert (one.delta, one.severity) == (0.9, "warning")

    def test_a_rate_of_one_is_left_to_the_rules_about_rates(self) -> None:
        graph = stream(1, drop=dropout(1.0, "DropPath", Granularity.SAMPLE))
        assert found("DC105", subject(graph, n0=shift(0.5, d0=0.5))) == []

    def test_other_dropouts_are_left_to_their_rules(self) -> None:
        assert found("DC105", subject(stream(1), n0=shift(0.5, d0=0.5))) == []


STALE = {"n0": shift(0.9, d0=0.9), "n1": shift(1.3, d0=1.2, d1=1.1), "n2": shift(0.99, d2=0.99), "n3": shift(None)}


class TestStaleStatistics:
    def test_one_finding_for_the_model_at_its_worst_norm(self) -> None:
        (one,) = found("DC701", subject(stream(4), **STALE))
        assert (one.norm, one.op, one.severity, one.delta) == ("n1", "d0", "error", 1.3)
        assert one.message == (
            "2 of 3 batch norms store statistics that evaluation does not have, worst of them 'n1': "
            "its running variance is 0.77x what evaluation sees (Δ = 1.30)"
        )

    def test_silent_without_trained_weights(self) -> None:
        assert found("DC701", subject(stream(4), PRIOR, **STALE)) == []

    def test_silent_where_nothing_is_off(self) -> None:
        assert found("DC701", subject(stream(2), n0=shift(0.96, d0=0.96), n1=shift(1.04, d0=1.04))) == []

    def test_stands_at_the_construction_of_the_norm(self) -> None:
        graph = stream(1)
        (called,) = found("DC701", subject(graph, n0=shift(0.5, d0=0.5)))
        assert called.site == graph["n0"].site
        line = Site("net.py", 3, 5, 3, 20)
        built = Graph(tuple(replace(each, built=line) if each.name == "n0" else each for each in graph))
        (constructed,) = found("DC701", subject(built, n0=shift(0.5, d0=0.5)))
        assert constructed.site == line

    def test_what_the_documentation_says_to_do_helps(self) -> None:
        """Statistics gathered with dropout on, then estimated again by the example's own function."""
        namespace: dict[str, Any] = {"torch": torch, "nn": nn, "F": nn.functional}
        exec(RULES["DC701"].examples[1].source, namespace)
        torch.manual_seed(0)
        net, batches = namespace["Net"](), [torch.randn(256, 32) for _ in range(40)]
        weights = [parameter.clone() for parameter in net.parameters()]
        assert drift(net, batches, train=True) == pytest.approx(0.5, abs=0.05)
        namespace["estimate_again"](net, batches)
        assert drift(net, batches) == pytest.approx(1.0, abs=0.01)
        assert not any(module.training for module in net.modules())
        assert all(map(torch.equal, weights, net.parameters()))


def drift(net: nn.Module, batches: list[torch.Tensor], *, train: bool = False) -> float:
    """Variance at bn1 in evaluation over the stored one; ``train``: the statistics are gathered in training first."""
    arriving: list[torch.Tensor] = []
    with torch.no_grad():
        for batch in batches if train else ():
            net.train()(batch)
        handle = net.bn1.register_forward_pre_hook(lambda _, inputs: arriving.append(inputs[0]))  # type: ignore[union-attr]
        for batch in batches:
            net.eval()(batch)
    handle.remove()
    return float(torch.cat(arriving).var(0).mean() / net.bn1.running_var.mean())  # type: ignore[union-attr]
