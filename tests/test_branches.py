"""Residual branches on hand-drawn graphs, and graphs with their dropouts moved."""

from __future__ import annotations

import pytest
from counting import calls
from graphs import bn, conv, draw, dropout, linear, node, preactivation

from dropcheck.branches import branches, moved
from dropcheck.graph import Graph, Node
from dropcheck.ops import (
    Activation,
    Add,
    Attention,
    Input,
    Lookup,
    Multiply,
    Op,
    Pool,
    Rearrange,
    Reduce,
    Resample,
    Weight,
)
from dropcheck.relocation import lone_dropouts
from dropcheck.shift import predict, predict_changed


def names(nodes: tuple[Node, ...]) -> str:
    return " ".join(node.name for node in nodes)


class TestBranches:
    def test_identity_shortcut(self) -> None:
        first, second = branches(preactivation())
        assert (first.add.name, second.add.name) == ("add", "add_2")
        assert names(first.spine) == "bn1 relu1 conv1 bn2 relu2 conv2"
        assert first.shortcut == ()
        assert first.last_layer is not None
        assert first.last_layer.name == "conv2"

    def test_projection_shortcut(self) -> None:
        graph = draw(
            x=node(Input()),
            c1=node(conv(), "x"),
            c2=node(conv(), "c1"),
            proj=node(conv(), "x"),
            add=node(Add(), "proj", "c2"),
        )
        (branch,) = branches(graph)
        assert (names(branch.spine), names(branch.shortcut)) == ("c1 c2", "proj")

    def test_gates_are_off_the_spine(self) -> None:
        graph = draw(
            x=node(Input()),
            c1=node(conv(), "x"),
            pool=node(Pool(Reduce.MEAN, None, is_global=True), "c1"),
            fc=node(linear(), "pool"),
            gate=node(Activation("sigmoid"), "fc"),
            scaled=node(Multiply(), "c1", "gate"),
            add=node(Add(), "x", "scaled"),
        )
        (branch,) = branches(graph)
        assert names(branch.spine) == "c1 scaled"
        assert branch.last_layer is graph["c1"]

    def test_alike_terms_are_no_preactivation(self) -> None:
        graph = draw(x=node(Input()), a=node(conv(), "x"), b=node(conv(), "x"), add=node(Add(), "a", "b"))
        assert branches(graph) == ()

    def test_a_projection_beside_one_layer_with_an_activation(self) -> None:
        graph = draw(
            x=node(Input()),
            f=node(Activation("relu"), "x"),
            a=node(conv(), "f"),
            b=node(conv(), "x"),
            n=node(bn(), "b"),
            d=node(dropout(), "n"),
            add=node(Add(), "a", "d"),
        )
        (branch,) = branches(graph)
        assert (names(branch.spine), names(branch.shortcut)) == ("f a", "b n d")

    def test_terms_of_different_origin_are_no_preactivation(self) -> None:
        graph = draw(x=node(Input()), y=node(Input()), a=node(conv(), "x"), add=node(Add(), "a", "y"))
        assert branches(graph) == ()

    def test_a_skip_around_blocks_is_no_preactivation(self) -> None:
        graph = draw(
            x=node(Input()),
            a=node(conv(), "x"),
            b=node(conv(), "a"),
            inner=node(Add(), "a", "b"),
            c=node(conv(), "inner"),
            outer=node(Add(), "x", "c"),
        )
        assert [branch.add.name for branch in branches(graph)] == ["inner"]

    def test_a_skip_around_a_network_is_no_preactivation(self) -> None:
        nodes = {"x": node(Input())}
        for i in range(7):
            nodes[f"c{i}"] = node(conv(), list(nodes)[-1])
        assert branches(draw(**nodes, add=node(Add(), "x", "c6"))) == ()

    @pytest.mark.parametrize(
        "up", [Weight("ConvTranspose2d", 64), Resample("bilinear"), Rearrange("nearest")], ids=lambda op: op.kind
    )
    def test_what_shrinks_and_grows_again_is_no_block(self, up: Op) -> None:
        graph = draw(
            x=node(Input()),
            down=node(conv(), "x"),
            up=node(up, "down"),
            gate=node(conv(), "up"),
            skip=node(conv(), "x"),
            add=node(Add(), "gate", "skip"),
        )
        assert branches(graph) == ()

    def test_wide_and_deep_is_no_block(self) -> None:
        graph = draw(
            x=node(Input()),
            wide=node(Lookup("Embedding", 1), "x"),
            table=node(Lookup("Embedding", 8), "x"),
            fc1=node(linear(), "table"),
            fc2=node(linear(), "fc1"),
            add=node(Add(), "wide", "fc2"),
        )
        assert branches(graph) == ()

    def test_three_terms_are_two_branches(self) -> None:
        graph = draw(
            x=node(Input()),
            a=node(conv(), "x"),
            first=node(Add(), "x", "a"),
            b=node(conv(), "x"),
            second=node(Add(), "first", "b"),
        )
        assert [names(branch.spine) for branch in branches(graph)] == ["a", "b"]

    def test_attention_as_last_layer_is_no_place(self) -> None:
        graph = draw(x=node(Input()), a=node(Attention("MultiheadAttention"), "x"), add=node(Add(), "x", "a"))
        (branch,) = branches(graph)
        assert branch.last_layer is None


class TestMoving:
    def test_moves_all_at_once_and_changes_nothing_else(self) -> None:
        graph = preactivation("dB", "dF")
        after = Graph(moved(graph, {"dB": "conv2", "dF": "conv1_2"}))
        assert {name: after[name].inputs for name in ("conv1", "dB", "conv2", "add", "dF", "conv1_2")} == {
            "conv1": ("relu1",),
            "dB": ("relu2",),
            "conv2": ("dB",),
            "add": ("stem", "conv2"),
            "dF": ("relu1_2",),
            "conv1_2": ("dF",),
        }
        assert sorted(node.name for node in after) == sorted(node.name for node in graph)

    def test_to_where_it_stands_is_no_change(self) -> None:
        graph = preactivation("dE")
        assert moved(graph, {"dE": "conv2"}) == graph.nodes

    def test_two_ahead_of_one_layer_stand_one_behind_the_other(self) -> None:
        after = Graph(moved(preactivation("dA", "dF"), {"dA": "conv2", "dF": "conv2"}))
        assert after["conv2"].inputs == ("dF",)
        assert after["dF"].inputs == ("dA",)
        assert after["dA"].inputs == ("relu2",)

    @pytest.mark.parametrize("dropout", ["dA", "dB", "dC", "dD", "dE", "dF"])
    @pytest.mark.parametrize("layer", ["conv1", "conv2", "conv2_2"])
    @pytest.mark.parametrize("others", [(), ("dS",), ("dG",)], ids=" ".join)
    def test_predicts_of_what_moved_what_it_would_of_the_whole(
        self, dropout: str, layer: str, others: tuple[str, ...]
    ) -> None:
        graph = preactivation(dropout, *others)
        after = moved(graph, {dropout: layer})
        assert predict_changed(graph, after) == predict(Graph(after)).norms
        until = moved(graph, {dropout: layer}, graph.positions["end"])
        assert predict_changed(graph, until) == predict(Graph(until)).norms


def test_cost_grows_about_linearly_with_the_number_of_blocks() -> None:
    def graph(blocks: int) -> Graph:
        nodes = {"x": node(Input())}
        last = "x"
        for i in range(blocks):
            nodes |= {f"n{i}": node(bn(), last), f"d{i}": node(dropout(0.2), f"n{i}"), f"w{i}": node(conv(), f"d{i}")}
            nodes[f"a{i}"] = node(Add(), last, f"w{i}")
            last = f"a{i}"
        return draw(**nodes)

    def cost(blocks: int) -> int:
        drawn = graph(blocks)

        def asked() -> None:
            assert len(branches(drawn)) == blocks
            assert len(list(lone_dropouts(drawn))) == blocks

        return calls(asked)

    assert cost(1000) < 15 * cost(100)
