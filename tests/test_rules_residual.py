"""Residual branches on hand-drawn graphs, and what the rules about them make of where a dropout stands."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from graphs import bn, chain, conv, draw, dropout, layer_norm, linear, node, preactivation, relu
from test_rules import HEADER, captured

from dropcheck.graph import Graph
from dropcheck.ops import Activation, Add, Granularity, Input, Op, Output, Pool, Reduce, Weight
from dropcheck.relocation import lone_dropouts, moves
from dropcheck.rule import Example, Finding, Rule, Severity, Subject, Thresholds, ratio
from dropcheck.rules import BUILTIN
from dropcheck.rules.dc201_residual_dropout_position import ResidualDropoutPosition
from dropcheck.rules.dc202_dropout_after_last_weight import DropoutAfterLastWeight
from dropcheck.rules.dc203_repeated_dropout import RepeatedDropout
from dropcheck.rules.dc204_dropout_on_residual_stream import DropoutOnResidualStream
from dropcheck.rules.dc302_dropout_on_logits import DropoutOnLogits
from dropcheck.rules.dc601_uncorrected_init_with_dropout import UncorrectedInitWithDropout
from dropcheck.shift import Evidence, Shifts, predict
from dropcheck.shift.closed_forms import corrected_init_scale

POSITIONS = {
    "dA": "ahead of bn1",
    "dB": "behind relu1",
    "dC": "behind conv1",
    "dD": "behind bn2",
    "dE": "behind relu2",
    "dF": "behind conv2",
    "dG": "behind the addition",
}


def subject(graph: Graph, shifts: Shifts | None = None, target: str = "net.py:Net") -> Subject:
    return Subject(target, graph, shifts or predict(graph), Thresholds())


def found(graph: Graph, *rules: Rule) -> list[Finding]:
    rules = rules or (ResidualDropoutPosition(), DropoutAfterLastWeight(), RepeatedDropout(), DropoutOnResidualStream())
    return [finding for rule in rules for finding in rule.check(subject(graph))]


def codes(graph: Graph, *rules: Rule) -> list[tuple[str, str]]:
    return [(one.code, one.op) for one in found(graph, *rules)]


class TestPositions:
    """Kim et al. 2023: every place of a branch, one dropout each."""

    @pytest.mark.parametrize(
        ("place", "code"),
        [
            ("dA", "DC201"),
            ("dB", "DC201"),
            ("dC", "DC201"),
            ("dD", None),
            ("dE", None),
            ("dF", "DC202"),
            ("dG", "DC204"),
        ],
        ids=POSITIONS.get,
    )
    def test_one_rule_speaks_of_one_place(self, place: str, code: str | None) -> None:
        assert codes(preactivation(place)) == ([] if code is None else [(code, place)])

    @pytest.mark.parametrize("place", ["dA", "dB", "dC", "dF"], ids=POSITIONS.get)
    def test_shift_in_the_right_place_is_what_the_dropout_would_cause_there(self, place: str) -> None:
        (move,) = moves(subject(preactivation(place)))
        right = predict(preactivation("dE"))
        expected = max((source.delta for norm in right.norms.values() for source in norm.sources), key=ratio)
        assert move.better
        assert move.gain.endswith(f" it would be {expected:.2f}")
        assert move.gain in found(preactivation(place))[0].message

    def test_names_the_norm_and_the_layer_between_which_it_belongs(self) -> None:
        for place in ("dA", "dB", "dC", "dF"):
            assert (
                "; between 'bn2' and its last weight layer 'conv2' it would be "
                in found(preactivation(place))[0].message
            )

    def test_on_the_shortcut(self) -> None:
        (one,) = found(preactivation("dS"))
        assert (one.code, one.op) == ("DC204", "dS")
        assert " on the shortcut to 'add'," in one.message

    @pytest.mark.parametrize("place", POSITIONS)
    def test_nothing_is_said_without_norms_that_remember(self, place: str) -> None:
        assert codes(preactivation(place, norm=layer_norm())) == []
        assert codes(preactivation(place, norm=bn(tracks=False))) == []
        assert codes(preactivation(place, rate=0.0)) == []
        assert codes(preactivation(place, rate=1.0)) == []

    def test_never_more_than_a_warning_where_it_is_about_the_position(self) -> None:
        shifts = predict(preactivation("dC"))
        trained = subject(preactivation("dC"), Shifts(Evidence.WEIGHTS, shifts.norms))
        (one,) = ResidualDropoutPosition().check(trained)
        assert (one.severity, one.evidence) == (Severity.WARNING, Evidence.WEIGHTS)
        assert " it would go, by the code alone, from 0.70 to " in one.message

    def test_a_small_shift_is_info(self) -> None:
        (one,) = found(preactivation("dB", rate=0.1))
        assert (one.code, one.severity) == ("DC201", Severity.INFO)

    def test_dropouts_of_whole_samples_are_left_to_their_rule(self) -> None:
        for place in POSITIONS:
            nodes = {each.name: each for each in preactivation(place)}
            op = dropout(0.3, "DropPath", Granularity.SAMPLE)
            nodes[place] = node(op, *nodes[place].inputs)
            assert codes(draw(**nodes)) == []

    def test_several_in_one_branch_are_one_finding(self) -> None:
        assert codes(preactivation("dB", "dE")) == [("DC203", "dE")]
        assert codes(preactivation("dB", "dC", "dF")) == [("DC203", "dF")]

    def test_each_branch_has_a_lone_dropout_of_its_own(self) -> None:
        assert [lone.dropout.name for lone in lone_dropouts(preactivation("dB"))] == ["dB"]
        assert list(lone_dropouts(preactivation("dB", "dE"))) == []

    def test_a_dropout_beside_the_stream_is_not_on_it(self) -> None:
        """A sum that the shortcut reads before it is dropped is whole: only the branch is dropped."""
        graph = draw(
            x=node(Input()),
            c=node(conv(), "x"),
            add=node(Add(), "x", "c"),
            d=node(dropout(0.3), "add"),
            e=node(conv(), "d"),
            n=node(bn(), "e"),
            sum=node(Add(), "add", "n"),
        )
        assert codes(graph, DropoutOnResidualStream()) == []


class TestRepetition:
    @pytest.mark.parametrize("between", [{}, {"r": relu()}, {"r": Activation("leaky_relu", 0.2)}])
    def test_homogeneous_work_between(self, between: dict[str, Op]) -> None:
        graph = chain(w=linear(), d1=dropout(0.2), **between, d2=dropout(0.5), v=linear())
        (one,) = found(graph, RepeatedDropout())
        assert (one.op, one.severity) == ("d2", Severity.WARNING)
        assert one.message.endswith("together one dropout of keep probability 0.4, drop rate 0.6")

    @pytest.mark.parametrize("between", [Activation("gelu"), linear(), bn(), layer_norm(), Pool(Reduce.MAX, 4)])
    def test_other_work_between(self, between: Op) -> None:
        graph = chain(w=linear(), d1=dropout(0.2), b=between, d2=dropout(0.5), v=linear())
        assert codes(graph, RepeatedDropout()) == []

    def test_three_in_a_row(self) -> None:
        graph = chain(d1=dropout(0.5), d2=dropout(0.5), d3=dropout(0.5), v=linear())
        one, other = found(graph, RepeatedDropout())
        assert (one.op, other.op) == ("d2", "d3")
        assert "keep probability 0.25," in one.message
        assert "keep probability 0.125," in other.message

    def test_units_after_channels_or_samples_are_something_else(self) -> None:
        for granularity in (Granularity.CHANNEL, Granularity.SAMPLE, Granularity.BLOCK):
            for first, second in ((granularity, Granularity.ELEMENT), (Granularity.ELEMENT, granularity)):
                graph = chain(d1=dropout(0.2, granularity=first), d2=dropout(0.2, granularity=second), v=linear())
                assert codes(graph, RepeatedDropout()) == []


class TestUncorrected:
    def stack(self, *rates: float, kind: str = "relu", norm: Op | None = None) -> Graph:
        ops: dict[str, Op] = {}
        for i, rate in enumerate(rates):
            ops |= {f"w{i}": linear(), f"f{i}": Activation(kind), f"d{i}": dropout(rate)}
        return chain(**ops, **({} if norm is None else {"n": norm}), last=linear())

    def test_factor_is_the_product_of_what_every_dropout_adds(self) -> None:
        (one,) = found(self.stack(0.5, 0.2, 0.5, 0.5), UncorrectedInitWithDropout())
        assert (one.op, one.severity) == ("d3", Severity.WARNING)
        assert " the variance at 'last' is 10x that without dropout; " in one.message
        assert f"times {corrected_init_scale(0.5, 0.5, 0.5):.3f} (relu, keep probability 0.5)" in one.message

    @pytest.mark.parametrize(
        ("rates", "severity"),
        [
            ((0.5,) * 3, None),
            ((0.2,) * 6, None),
            ((0.2,) * 8, "info"),
            ((0.3,) * 6, "warning"),
            ((0.5,) * 4, "warning"),
        ],
    )
    def test_how_much_is_too_much(self, rates: tuple[float, ...], severity: str | None) -> None:
        seen = [one.severity for one in found(self.stack(*rates), UncorrectedInitWithDropout())]
        assert seen == ([] if severity is None else [severity])

    @pytest.mark.parametrize("norm", [bn(), bn(tracks=False), layer_norm()])
    def test_any_norm_silences_it(self, norm: Op) -> None:
        assert found(self.stack(*(0.5,) * 8, norm=norm), UncorrectedInitWithDropout()) == []

    def test_trained_weights_silence_it(self) -> None:
        graph = self.stack(*(0.5,) * 8)
        trained = subject(graph, Shifts(Evidence.WEIGHTS, {}))
        assert list(UncorrectedInitWithDropout().check(trained)) == []

    def test_a_shortcut_keeps_the_signal(self) -> None:
        nodes = {"x": node(Input())}
        last = "x"
        for i in range(8):
            nodes |= {f"w{i}": node(linear(), last), f"d{i}": node(dropout(0.5), f"w{i}")}
            nodes[f"a{i}"] = node(Add(), last, f"d{i}")
            last = f"a{i}"
        assert found(draw(**nodes, w=node(linear(), last)), UncorrectedInitWithDropout()) == []


class TestLogits:
    def net(self, out: int = 10, wide: int = 64, shape: tuple[int, ...] = (2, 10), path: str = "fc") -> Graph:
        nodes = {
            "x": node(Input(), shape=(2, 32)),
            "hidden": node(Weight("Linear", 32, wide), "x", shape=(2, wide)),
            path: node(Weight("Linear", wide, out), "hidden", shape=shape),
            "d": node(dropout(0.5), path, shape=shape),
            "out": node(Output(), "d"),
        }
        return draw(**nodes)

    def told(self, graph: Graph, target: str = "net.py:Net", guessed: tuple[float, ...] = ()) -> list[Finding]:
        one = Subject(target, graph, predict(graph), Thresholds(), guessed=guessed)
        return list(DropoutOnLogits().check(one))

    def test_few_vectors_behind_a_layer(self) -> None:
        (one,) = self.told(self.net())
        assert (one.op, one.severity, one.norm) == ("d", Severity.WARNING, None)

    @pytest.mark.parametrize(
        "target",
        [
            "net.py:MetaEncoder",
            "net.py:FeedForward",
            "nets.py:ConvBlock",
            "a.py:SelfAttention",
            "Embedder",
            "mlp_layer",
        ],
    )
    def test_parts_by_name(self, target: str) -> None:
        assert self.told(self.net(), target) == []

    @pytest.mark.parametrize("target", ["net.py:TwoLayerNet", "nets.py:AttentionClassifier", "BlockRegressor"])
    def test_wholes_by_name(self, target: str) -> None:
        assert len(self.told(self.net(), target)) == 1

    def test_widths_that_nobody_wrote(self) -> None:
        assert self.told(self.net(), guessed=(64.0, 10.0)) == []
        assert len(self.told(self.net(path="classifier"), guessed=(64.0, 10.0))) == 1

    def test_wide_outputs_need_a_name_or_a_head(self) -> None:
        assert self.told(self.net(40, shape=(2, 40))) == []
        assert len(self.told(self.net(40, shape=(2, 40), path="head"))) == 1

    def test_outputs_that_widen_or_keep_the_width_are_features(self) -> None:
        assert self.told(self.net(10, wide=8)) == []
        assert self.told(self.net(32, shape=(2, 32), path="head")) == []

    def test_sequences_and_maps(self) -> None:
        assert self.told(self.net(shape=(2, 7, 10))) == []

    def test_read_by_anything_else(self) -> None:
        nodes = {each.name: each for each in self.net()}
        del nodes["out"]
        nodes |= {"more": node(linear(), "d"), "out": node(Output(), "d", "more")}
        assert self.told(draw(**nodes)) == []


# One planted fault per rule, written differently from the rules' own examples.
PLANTED: dict[str, tuple[str, int]] = {
    "DC201 functional, in a bottleneck": (
        """\
        class Bottleneck(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.n1, self.n2, self.n3 = nn.BatchNorm2d(64), nn.BatchNorm2d(width), nn.BatchNorm2d(width)
                self.a, self.b = nn.Conv2d(64, width, 1), nn.Conv2d(width, width, 3, 1, 1)
                self.c = nn.Conv2d(width, 64, 1)

            def forward(self, x):
                h = self.a(self.n1(x).relu())
                h = self.b(self.n2(h).relu())
                h = F.dropout(h, 0.3, training=self.training)
                return x + self.c(self.n3(h).relu())

        net = nn.Sequential(nn.Conv2d(3, 64, 1), Bottleneck(16), Bottleneck(16))
        """,
        11,
    ),
    "DC202 subclass of Sequential": (
        """\
        class Residual(nn.Sequential):
            def forward(self, x):
                return x + super().forward(x)

        def unit(width):
            return Residual(
                nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
                nn.Dropout(0.25),
            )

        net = nn.Sequential(nn.Conv2d(3, 32, 1), unit(32), unit(32), nn.BatchNorm2d(32))
        """,
        8,
    ),
    "DC203 a factory": (
        """\
        def layer(i, o):
            return nn.Sequential(
                nn.Dropout(0.2),
                nn.Linear(i, o), nn.ReLU(), nn.Dropout(0.2))

        net = nn.Sequential(nn.Flatten(), layer(192, 64), layer(64, 64), nn.Linear(64, 2))
        """,
        3,
    ),
    "DC204 in a loop": (
        """\
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 32, 3, padding=1)
                self.bodies = nn.ModuleList(
                    nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()) for _ in range(3))
                self.drop = nn.Dropout2d(0.3)

            def forward(self, x):
                x = self.stem(x)
                for body in self.bodies:
                    x = self.drop(body(x) + x)
                return x
        """,
        12,
    ),
    "DC302 a method call": (
        """\
        class Classifier(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
                self.fc = nn.Linear(64, 40)

            def logits(self, x):
                return torch.dropout(self.fc(self.body(x)), 0.2, self.training)

            def forward(self, x):
                return self.logits(x)

        net = Classifier()
        """,
        8,
    ),
    "DC601 a factory": (
        """\
        def make(sizes, rate=0.4):
            steps = [nn.Flatten()]
            for i, o in zip(sizes, sizes[1:]):
                steps.extend([nn.Dropout(rate), nn.Linear(i, o), nn.LeakyReLU(0.1)])
            return nn.Sequential(*steps[:-1])

        net = make([192, 128, 128, 64, 64, 10])
        """,
        4,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found_with_its_line(name: str, tmp_path: Path) -> None:
    source, line = PLANTED[name]
    graph = captured(Example(name, textwrap.dedent(source), input="2x3x8x8"), tmp_path, "fx")
    (rule,) = (rule for rule in BUILTIN if rule.code == name[:5])
    seen = {one.site.line - HEADER.count("\n") for one in rule.check(subject(graph)) if one.site}
    assert seen == {line}
