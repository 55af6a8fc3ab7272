"""Rules about what kind of dropout stands where: what examples cannot show, on graphs drawn by hand; guessed rates."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from graphs import bn, chain, conv, draw, dropout, layer_norm, linear, max_pool, node, relu
from torch import nn

import dropcheck
from dropcheck.graph import Graph
from dropcheck.node import Node
from dropcheck.ops import Activation, Add, Attention, Dropout, Granularity, Input, Opaque, Recurrent, Scale, Weight
from dropcheck.rule import Subject, Thresholds
from dropcheck.rules import BUILTIN
from dropcheck.shift import Evidence, Shifts

SAMPLE, CHANNEL = Granularity.SAMPLE, Granularity.CHANNEL


def messages(code: str, graph: Graph, *, guessed: tuple[float, ...] = ()) -> dict[str, str]:
    """What a rule says of a graph, by module path."""
    (rule,) = (rule for rule in BUILTIN if rule.code == code)
    subject = Subject("net.py:Net", graph, Shifts(Evidence.PRIOR, {}), Thresholds(), guessed=guessed)
    return {finding.op: finding.message for finding in rule.check(subject)}


def path(rate: float) -> Dropout:
    return dropout(rate, "DropPath", SAMPLE)


def stream(*rates: float) -> Graph:
    """Residual blocks p0, p1 … with these rates, one behind the other."""
    nodes = {"x": node(Input())}
    last = "x"
    for i, rate in enumerate(rates):
        nodes |= {
            f"w{i}": node(linear(), last),
            f"p{i}": node(path(rate), f"w{i}"),
            f"a{i}": node(Add(), last, f"p{i}"),
        }
        last = f"a{i}"
    return draw(**nodes)


class TestKeepProbConfusion:
    @pytest.mark.parametrize(("rate", "found"), [(0.7, 0), (0.74, 0), (0.75, 1), (0.8, 1), (1.0, 1), (0.0, 0)])
    def test_from_three_quarters(self, rate: float, found: int) -> None:
        assert len(messages("DC111", chain(d=dropout(rate)))) == found

    def test_stochastic_depth_and_layers_that_drop_inside_count(self) -> None:
        graph = chain(d=path(0.8), r=Recurrent("GRU", 8, 2, 0.9), a=Attention("MultiheadAttention", 8, 0.9))
        assert list(messages("DC111", graph)) == ["d", "r", "a"]

    def test_a_mask_by_hand_has_no_p_to_confuse(self) -> None:
        assert messages("DC111", chain(d=dropout(0.75, "mask"))) == {}

    @pytest.mark.parametrize("guess", [0.9, 0.1])
    def test_a_guessed_rate_or_its_complement_does_not_count(self, guess: float) -> None:
        graph = chain(d=dropout(0.9), e=dropout(0.8))
        assert list(messages("DC111", graph, guessed=(guess, 3.0))) == ["e"]

    def test_arguments_nobody_gave_end_to_end(self, tmp_path: Path) -> None:
        file = tmp_path / "nets.py"
        file.write_text(
            "from torch import nn\n\n"
            "class Net(nn.Module):\n"
            "    def __init__(self, p, keep_prob=0.9):\n"
            "        super().__init__()\n"
            "        self.guessed, self.written = nn.Dropout(1 - p), nn.Dropout(keep_prob - 0.05)\n"
            "        self.fc = nn.Linear(8, 8)\n\n"
            "    def forward(self, x):\n"
            "        return self.fc(self.guessed(self.written(x)))\n"
        )
        assert [one.op for one in dropcheck.lint(f"{file}:Net", select=["DC111"]).findings] == ["written"]
        assert [one.op for one in dropcheck.lint(f"{file}:Net(p=0.1)", select=["DC111"]).findings] == [
            "guessed",
            "written",
        ]


class TestElementwiseDropoutOnFeatureMap:
    def test_is_asked_for_by_name(self) -> None:
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(8, 8, 3))
        example = torch.zeros(2, 3, 8, 8)
        assert dropcheck.lint(net, example).findings == ()
        assert [one.code for one in dropcheck.lint(net, example, select=["DC401"]).findings] == ["DC401"]

    def test_what_a_linear_layer_makes_is_no_map(self) -> None:
        shape = (2, 4, 10, 8)
        graph = chain(w=node(linear(), shape=shape), r=node(relu(), shape=shape), d=node(dropout(), shape=shape))
        assert messages("DC401", graph) == {}
        graph = chain(w=node(conv(), shape=shape), r=node(relu(), shape=shape), d=node(dropout(), shape=shape))
        assert list(messages("DC401", graph)) == ["d"]


def test_dropped_parameters_that_nothing_reads_are_no_logits() -> None:
    graph = draw(x=node(Input()), d=node(dropout(0.3)), w=node(linear(), "x"))
    assert messages("DC302", graph) == {}


class TestChannelDropoutShape:
    @pytest.mark.parametrize("kind", ["Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"])
    @pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
    def test_says_what_torch_does(self, kind: str, rank: int) -> None:
        """Whole rows, samples or single values: read off a mask that torch draws."""
        shape = (8, 7, 6, 5, 4, 3)[:rank]
        said = messages("DC402", chain(d=node(dropout(0.5, kind, CHANNEL), shape=shape))).get("d", "")
        try:
            shared = shared_axes(getattr(nn, kind)(0.5), shape)
        except RuntimeError:
            return  # such a model cannot be run, so that nobody sees its shape
        sample, channel, single = set(range(1, rank)), set(range(2, rank)), set()
        if "all" in said:
            assert shared == sample
        elif "single values as" in said:
            assert shared == single
        else:
            assert shared == channel
            assert bool(said) == (kind == "Dropout2d" and rank != 4)

    @pytest.mark.parametrize(
        ("kind", "above", "shape", "found"),
        [
            ("Dropout1d", Weight("Conv1d", 8), (8, 16), 0),
            ("Dropout1d", Weight("Linear", 8), (8, 16), 1),
            ("Dropout3d", Weight("Conv3d", 8), (8, 4, 4, 4), 0),
            ("Dropout3d", Weight("Conv2d", 8), (8, 4, 4, 4), 1),
            ("Dropout2d", Weight("Conv2d", 8), (8, 4, 4), 1),
        ],
    )
    def test_one_sample_of_the_right_kind(self, kind: str, above: Weight, shape: tuple[int, ...], found: int) -> None:
        graph = chain(w=node(above, shape=shape), d=node(dropout(0.5, kind, CHANNEL), shape=shape))
        assert len(messages("DC402", graph)) == found


def shared_axes(layer: nn.Module, shape: tuple[int, ...]) -> set[int]:
    """The axes along which all values are dropped together."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr("warnings.warn", lambda *_, **__: None)
        torch.manual_seed(0)
        dropped = layer(torch.ones(shape)) <= 0.0
    return {axis for axis in range(len(shape)) if bool((dropped == dropped.select(axis, 0).unsqueeze(axis)).all())}


class TestStochasticDepthSchedule:
    @pytest.mark.parametrize(
        ("rates", "found"),
        [
            ((0.3, 0.2, 0.1), True),
            ((0.3, 0.3, 0.1, 0.1), True),
            ((0.2, 0.1, 0.0), True),
            ((0.1, 0.2, 0.3), False),
            ((0.2, 0.2, 0.2), False),
            ((0.1, 0.1, 0.1, 0.0), False),
            ((0.3, 0.2), False),
            ((0.3, 0.2, 0.1, 0.2), False),
            ((0.0, 0.2, 0.1, 0.0), False),
        ],
    )
    def test_rates_that_never_rise(self, rates: tuple[float, ...], found: bool) -> None:
        assert bool(messages("DC403", stream(*rates))) is found

    def test_told_once_at_the_first_step_down(self) -> None:
        assert messages("DC403", stream(0.4, 0.4, 0.2, 0.1)) == {
            "p2": "DropPath(0.20) drops less than DropPath(0.40) 'p1' ahead of it: "
            "over 4 layers the rates fall from 0.40 to 0.10"
        }

    def test_towers_side_by_side_are_no_chain(self) -> None:
        nodes = {"x": node(Input())}
        for tower, rate in (("a", 0.3), ("b", 0.1)):
            steps = ["x", *(f"{tower}{i}" for i in range(3))]
            nodes |= {after: node(path(rate), before) for before, after in pairwise(steps)}
        nodes["sum"] = node(Add(), "a2", "b2")
        assert messages("DC403", draw(**nodes)) == {}

    def test_a_guessed_rate_is_no_schedule(self) -> None:
        assert messages("DC403", stream(0.1, 0.05, 0.01), guessed=(0.1,)) == {}

    def test_other_dropout_has_no_schedule(self) -> None:
        assert messages("DC403", chain(a=dropout(0.3), b=dropout(0.2), c=dropout(0.1))) == {}


class TestAlphaDropoutWithoutSelu:
    alpha = Dropout("AlphaDropout", 0.2, alpha=True)

    @pytest.mark.parametrize(
        ("between", "found"),
        [
            ({}, 1),
            ({"s": Scale("mul")}, 1),
            ({"p": max_pool()}, 1),
            ({"o": Opaque("custom")}, 0),
            ({"s": Activation("selu")}, 0),
            ({"w": linear(), "s": Activation("selu"), "n": layer_norm()}, 0),
        ],
    )
    def test_behind_relu(self, between: dict[str, Node], found: int) -> None:
        assert len(messages("DC404", chain(r=relu(), **between, d=self.alpha))) == found

    def test_of_the_inputs_of_another_network(self) -> None:
        said = messages("DC404", chain(d=self.alpha, w=linear(), g=Activation("gelu")))
        assert said == {
            "d": "AlphaDropout(0.20) is part of no SELU network (nearest activation: gelu): "
            "it sets units to SELU's lower limit of -1.76"
        }

    def test_without_any_activation(self) -> None:
        (said,) = messages("DC404", chain(w=linear(), d=self.alpha, v=linear())).values()
        assert "(it has no activation)" in said

    @pytest.mark.parametrize(
        ("plain", "found"), [(dropout(0.1), 1), (dropout(0.1, "Dropout2d", CHANNEL), 1), (path(0.1), 0)]
    )
    def test_plain_dropout_right_behind_selu(self, plain: Dropout, found: int) -> None:
        graph = chain(w=linear(), s=Activation("selu"), d=plain, v=linear())
        assert len(messages("DC404", graph)) == found

    def test_a_norm_restores_what_plain_dropout_disturbs(self) -> None:
        for norm in (bn(), layer_norm()):
            assert messages("DC404", chain(s=Activation("selu"), d=dropout(0.1), w=linear(), n=norm)) == {}
        late = chain(s=Activation("selu"), d=dropout(0.1), w=linear(), t=Activation("selu"), n=bn())
        assert list(messages("DC404", late)) == ["d"]
