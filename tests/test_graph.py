"""Questions about paths, residual branches and heads, on graphs drawn by hand."""

import pytest
from counting import calls
from graphs import bn, chain, conv, draw, dropout, flatten, global_pool, layer_norm, linear, max_pool, node, relu

from dropcheck.graph import Graph, Node, Passage, Residual
from dropcheck.ops import (
    Activation,
    Add,
    Attention,
    BatchNorm,
    Concat,
    Constant,
    Discrete,
    Dropout,
    Input,
    Lookup,
    MatMul,
    Multiply,
    Output,
    Pool,
    Recurrent,
    Weight,
)


def names(nodes: tuple[Node, ...]) -> str:
    return " ".join(node.name for node in nodes)


def stack() -> Graph:
    """x → conv1 → bn1 → relu1 → drop → conv2 → bn2 → out"""
    return chain(conv1=conv(), bn1=bn(), relu1=relu(), drop=dropout(), conv2=conv(), bn2=bn())


def block() -> Graph:
    """A projection shortcut beside two weight layers:  stem → (conv1 → bn1 → drop → conv2 → bn2) + (proj → bnp)"""
    return draw(
        x=node(Input()),
        stem=node(conv(), "x"),
        conv1=node(conv(), "stem"),
        bn1=node(bn(), "conv1"),
        drop=node(dropout(), "bn1"),
        conv2=node(conv(), "drop"),
        bn2=node(bn(), "conv2"),
        proj=node(conv(64, 1), "stem"),
        bnp=node(bn(), "proj"),
        add=node(Add(), "bn2", "bnp"),
        relu=node(relu(), "add"),
        out=node(Output(), "relu"),
    )


class TestConstruction:
    def test_two_nodes_of_one_name(self) -> None:
        with pytest.raises(ValueError, match="two nodes are called 'a'"):
            Graph((Node("a", "", Input()), Node("a", "", Input())))

    def test_input_that_comes_later(self) -> None:
        with pytest.raises(ValueError, match="'a' reads 'b', which is no earlier node"):
            Graph((Node("a", "", Output(), ("b",)), Node("b", "", Input())))

    def test_is_a_sequence_of_nodes_by_name(self) -> None:
        graph = stack()
        assert len(graph) == 8
        assert [node.name for node in graph][:2] == ["x", "conv1"]
        assert graph["bn2"].op == bn()


class TestNeighbours:
    def test_of_a_kind_in_execution_order(self) -> None:
        assert names(block().of(BatchNorm)) == "bn1 bn2 bnp"
        assert names(block().of(Weight, Dropout)) == "stem conv1 drop conv2 proj"

    def test_producers_in_argument_order(self) -> None:
        graph = draw(x=node(Input()), a=node(relu(), "x"), s=node(Add(), "a", "x"), t=node(Add(), "s", "s"))
        assert names(graph.producers(graph["s"])) == "a x"
        assert names(graph.producers(graph["t"])) == "s s"

    def test_successors(self) -> None:
        graph = block()
        assert names(graph.successors(graph["stem"])) == "conv1 proj"
        assert graph.successors(graph["out"]) == ()

    def test_downstream(self) -> None:
        graph = block()
        assert names(graph.downstream(graph["drop"])) == "conv2 bn2 add relu out"
        assert names(graph.downstream(graph["stem"], BatchNorm, Output)) == "bn1 bn2 bnp out"

    def test_between_holds_every_path_and_neither_end(self) -> None:
        graph = block()
        assert names(graph.between(graph["stem"], graph["add"])) == "conv1 bn1 drop conv2 bn2 proj bnp"
        assert names(graph.between(graph["stem"], graph["add"], Dropout)) == "drop"
        assert graph.between(graph["bn2"], graph["add"]) == ()

    def test_between_unrelated_or_reversed_is_nothing(self) -> None:
        graph = block()
        assert graph.between(graph["conv1"], graph["bnp"]) == ()
        assert graph.between(graph["add"], graph["stem"]) == ()
        assert graph.between(graph["add"], graph["add"]) == ()


class TestNoise:
    def test_weight_layers_on_the_way(self) -> None:
        graph = stack()
        assert graph.passages(graph["drop"]) == {"bn2": Passage(max_pools=0, weight_layers=1)}
        assert names(graph.route(graph["drop"], graph["bn2"])) == "conv2"

    def test_the_lightest_path_counts(self) -> None:
        graph = draw(
            x=node(Input()),
            d=node(dropout(), "x"),
            a=node(conv(), "d"),
            b=node(conv(), "a"),
            c=node(linear(), "d"),
            s=node(Add(), "b", "c"),
            n=node(bn(), "s"),
        )
        assert graph.passages(graph["d"]) == {"n": Passage(0, 1)}
        assert names(graph.route(graph["d"], graph["n"])) == "c s"

    @pytest.mark.parametrize("op", [conv(), Recurrent("LSTM", 8), Attention("MultiheadAttention"), MatMul()])
    def test_what_sums_many_units_is_a_weight_layer(self, op: Weight | Recurrent | Attention | MatMul) -> None:
        graph = chain(d=dropout(), w=op, n=bn())
        assert graph.passages(graph["d"])["n"].weight_layers == 1

    def test_max_pools_are_counted_apart(self) -> None:
        graph = chain(d=dropout(), p1=max_pool(), w=conv(), p2=max_pool(), n=bn())
        assert graph.passages(graph["d"]) == {"n": Passage(max_pools=2, weight_layers=1)}

    def test_a_way_around_the_max_pool_is_taken_at_any_price(self) -> None:
        graph = draw(
            x=node(Input()),
            d=node(dropout(), "x"),
            p=node(max_pool(), "d"),
            a=node(conv(), "d"),
            b=node(conv(), "a"),
            c=node(Concat(), "p", "b"),
            n=node(bn(), "c"),
        )
        assert graph.passages(graph["d"]) == {"n": Passage(0, 2)}
        assert names(graph.route(graph["d"], graph["n"])) == "a b c"

    def test_mean_pools_are_no_max_pools(self) -> None:
        graph = chain(d=dropout(), p=global_pool(), n=bn())
        assert graph.passages(graph["d"]) == {"n": Passage(0, 0)}

    @pytest.mark.parametrize("block", [layer_norm(), bn(tracks=False), Discrete("argmax")])
    def test_ends_where_nothing_of_training_is_kept(self, block: BatchNorm | Discrete) -> None:
        graph = chain(d=dropout(), a=block, w=conv(), n=bn())
        assert graph.norms_reached(graph["d"]) == ()
        assert graph.dropouts_reaching(graph["n"]) == ()
        with pytest.raises(ValueError, match="no noise of 'd' reaches 'n'"):
            graph.route(graph["d"], graph["n"])

    def test_stops_at_the_first_norm_that_remembers(self) -> None:
        graph = chain(d=dropout(), n1=bn(), w=conv(), n2=bn())
        assert names(graph.norms_reached(graph["d"])) == "n1"
        assert names(graph.dropouts_reaching(graph["n1"])) == "d"
        assert graph.dropouts_reaching(graph["n2"]) == ()

    def test_passes_a_frozen_norm(self) -> None:
        graph = chain(d=dropout(), frozen=node(bn(), training=False), w=conv(), n=bn())
        assert names(graph.norms_reached(graph["d"])) == "n"
        assert names(graph.dropouts_reaching(graph["n"])) == "d"
        assert graph.dropouts_reaching(graph["frozen"]) == (graph["d"],)

    def test_blocked_on_one_path_and_free_on_the_other(self) -> None:
        graph = draw(
            x=node(Input()),
            d=node(dropout(), "x"),
            local=node(layer_norm(), "d"),
            w=node(linear(), "d"),
            s=node(Add(), "local", "w"),
            n=node(bn(), "s"),
        )
        assert graph.passages(graph["d"]) == {"n": Passage(0, 1)}

    def test_only_dropouts_that_drop_count(self) -> None:
        held = node(dropout(0.5), training=False)
        graph = chain(none=dropout(0.0), held=held, d1=dropout(0.1), d2=dropout(0.2), n=bn())
        assert names(graph.dropouts_reaching(graph["n"])) == "d1 d2"

    def test_several_norms_in_execution_order(self) -> None:
        graph = draw(
            x=node(Input()),
            d=node(dropout(), "x"),
            n1=node(bn(), "d"),
            w=node(conv(), "d"),
            n2=node(bn(), "w"),
            n3=node(bn(), "n1"),
        )
        assert list(graph.passages(graph["d"]).items()) == [("n1", Passage(0, 0)), ("n2", Passage(0, 1))]

    def test_first_norm_is_the_first_of_all_reached(self) -> None:
        graph = draw(
            x=node(Input()),
            d=node(dropout(), "x"),
            w=node(conv(), "d"),
            late=node(dropout(), "w"),
            n1=node(bn(), "w"),
            n2=node(bn(), "d"),
        )
        assert graph.first_norm(graph["d"]) == graph["n1"]
        assert graph.first_norm(graph["late"]) is None

    def test_last_batch_norm(self) -> None:
        graph = block()
        assert [graph.is_last_batch_norm(graph[name]) for name in ("bn1", "bn2", "bnp", "add")] == [
            False,
            True,
            True,
            False,
        ]


class TestResiduals:
    def test_projection_shortcut(self) -> None:
        graph = block()
        branch = frozenset({"conv1", "bn1", "drop", "conv2", "bn2"})
        assert graph.residuals() == (Residual("stem", "add", branch, frozenset({"proj", "bnp"})),)

    def test_identity_shortcut_has_no_nodes(self) -> None:
        graph = draw(x=node(Input()), w=node(conv(), "x"), d=node(dropout(), "w"), add=node(Add(), "x", "d"))
        assert graph.residuals() == (Residual("x", "add", frozenset({"w", "d"}), frozenset()),)

    def test_dropout_on_the_shortcut(self) -> None:
        graph = draw(x=node(Input()), w=node(conv(), "x"), d=node(dropout(), "x"), add=node(Add(), "w", "d"))
        assert graph.residuals() == (Residual("x", "add", frozenset({"w"}), frozenset({"d"})),)

    def test_each_block_of_a_stack_has_its_own_fork(self) -> None:
        graph = draw(
            x=node(Input()),
            w1=node(conv(), "x"),
            add1=node(Add(), "w1", "x"),
            w2=node(conv(), "add1"),
            add2=node(Add(), "w2", "add1"),
        )
        assert [(one.fork, one.add, set(one.branch)) for one in graph.residuals()] == [
            ("x", "add1", {"w1"}),
            ("add1", "add2", {"w2"}),
        ]

    def test_three_terms_are_one_residual(self) -> None:
        graph = draw(
            x=node(Input()),
            f=node(conv(), "x"),
            partial=node(Add(), "x", "f"),
            g=node(linear(), "x"),
            add=node(Add(), "partial", "g"),
        )
        assert graph.residuals() == (Residual("x", "add", frozenset({"f", "g"}), frozenset()),)

    def test_a_block_at_the_end_of_a_long_skip_keeps_its_own_fork(self) -> None:
        graph = draw(
            x=node(Input()),
            stem=node(conv(), "x"),
            w=node(conv(), "stem"),
            inner=node(Add(), "w", "stem"),
            outer=node(Add(), "inner", "x"),
        )
        assert [(one.fork, one.add) for one in graph.residuals()] == [("stem", "inner"), ("x", "outer")]

    def test_parameters_and_positions_are_no_terms(self) -> None:
        graph = draw(
            x=node(Input()),
            c=node(Constant()),
            e=node(Lookup("Embedding", 8), "c"),
            w=node(conv(), "x"),
            bias=node(Add(), "w", "c"),
            position=node(Add(), "bias", "e"),
            twice=node(Add(), "position", "position"),
        )
        assert graph.residuals() == ()

    def test_inputs_of_different_origin_share_no_fork(self) -> None:
        graph = draw(x=node(Input()), y=node(Input()), a=node(conv(), "x"), add=node(Add(), "a", "y"))
        assert graph.residuals() == ()

    def test_dense_concatenation_is_no_residual(self) -> None:
        graph = draw(x=node(Input()), w=node(conv(), "x"), c=node(Concat(), "x", "w"))
        assert graph.residuals() == ()


class TestHead:
    def test_after_the_global_pool(self) -> None:
        graph = chain(w=conv(), n=bn(), p=global_pool(), f=flatten(), d=dropout(), fc=linear())
        assert names(graph.head()) == "f d fc out"

    def test_a_gate_is_no_head(self) -> None:
        graph = draw(
            x=node(Input()),
            w=node(conv(), "x"),
            squeeze=node(global_pool(), "w"),
            excite=node(linear(), "squeeze"),
            gate=node(Activation("sigmoid"), "excite"),
            scaled=node(Multiply(), "w", "gate"),
            pool=node(global_pool(), "scaled"),
            fc=node(linear(), "pool"),
            out=node(Output(), "fc"),
        )
        assert names(graph.head()) == "fc out"

    def test_mean_and_max_pool_side_by_side(self) -> None:
        graph = draw(
            x=node(Input()),
            mean=node(global_pool(), "x"),
            most=node(Pool(max_pool().reduce, 49, is_global=True), "x"),
            both=node(Concat(), "mean", "most"),
            fc=node(linear(), "both"),
        )
        assert names(graph.head()) == "both fc"

    def test_second_input_that_joins_behind_the_pool(self) -> None:
        graph = draw(
            image=node(Input()),
            age=node(Input()),
            pool=node(global_pool(), "image"),
            years=node(linear(), "age"),
            both=node(Concat(), "pool", "years"),
            fc=node(linear(), "both"),
        )
        assert names(graph.head()) == "both fc"

    def test_without_a_pool_after_the_last_change_to_vectors(self) -> None:
        x, vectors = node(Input(), shape=(2, 3, 8, 8)), node(flatten(), shape=(2, 192))
        graph = chain(a=node(relu(), shape=(2, 3, 8, 8)), f=vectors, n=bn(), fc=linear())
        assert names(graph.head()) == "n fc out"
        tokens = draw(x=x, f=node(flatten(), "x", shape=(2, 64, 3)), n=node(bn(), "f"), fc=node(linear(), "n"))
        assert names(tokens.head()) == "fc"

    def test_without_shapes_a_flatten_is_taken_at_its_word(self) -> None:
        assert names(chain(w=conv(), f=flatten(), fc=linear()).head()) == "fc out"

    def test_without_either_after_the_last_batch_norm(self) -> None:
        assert names(chain(a=linear(), n=bn(), b=linear()).head()) == "b out"

    def test_nothing_marks_a_head(self) -> None:
        assert chain(a=linear(), b=relu()).head() == ()


def test_cost_grows_about_linearly_with_the_number_of_blocks() -> None:
    """Ten times the residual blocks take a hundred times the calls if some question is quadratic."""

    def cost(blocks: int) -> int:
        nodes = {"x": node(Input())}
        last = "x"
        for i in range(blocks):
            nodes[f"w{i}"] = node(conv(), last)
            nodes[f"d{i}"] = node(dropout(), f"w{i}")
            nodes[f"n{i}"] = node(bn(), f"d{i}")
            nodes[f"a{i}"] = node(Add(), f"n{i}", last)
            last = f"a{i}"
        graph = draw(**nodes)

        def asked() -> None:
            assert len(graph.residuals()) == blocks
            assert all(graph.first_norm(graph[f"d{i}"]) == graph[f"n{i}"] for i in range(blocks))
            assert all(graph.route(graph[f"d{i}"], graph[f"n{i}"]) == () for i in range(blocks))
            assert len(graph.head()) == 1

        return calls(asked)

    assert cost(1000) < 15 * cost(100)
