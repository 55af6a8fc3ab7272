"""The passes that follow all noise at once, against what networkx finds path by path, on random graphs."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import networkx
import pytest
from graphs import bn, conv, draw, dropout, layer_norm, max_pool, node, relu

from dropcheck.graph import WEIGHT_LAYERS, Graph, Passage, Way
from dropcheck.ops import Add, BatchNorm, Discrete, Dropout, Input, Pool, Recurrent

KINDS = (conv(), relu(), max_pool(), bn(), layer_norm(), dropout(), Add(), Recurrent("LSTM", 8), Discrete("argmax"))


def scribble(seed: int, size: int = 40) -> Graph:
    """A graph of random operations, each reading one to three random earlier ones, mostly recent."""
    dice = Random(seed)
    names = ["x", "y"]
    nodes = {"x": node(Input()), "y": node(Input())}
    for i in range(size):
        recent = names[-4:] if dice.random() < 0.8 else names
        inputs = dict.fromkeys(dice.choice(recent) for _ in range(dice.choice((1, 1, 2, 3))))
        nodes[f"n{i}"] = node(dice.choice(KINDS), *inputs, training=dice.random() < 0.9)
        names.append(f"n{i}")
    return draw(**nodes)


@pytest.mark.parametrize("seed", range(40))
class TestAgainstNetworkx:
    """The passes over a whole graph give what networkx finds path by path."""

    def test_ways_and_routes(self, seed: int) -> None:
        graph = scribble(seed)
        noise = noise_edges(graph)
        for drop in graph.of(Dropout, Recurrent):
            costs = networkx.single_source_dijkstra_path_length(noise, drop.name)
            reached = {one.name: costs[one.name] for one in graph if one.remembers and one.name in costs}
            passages = graph.passages(drop)
            assert {name: (one.max_pools, one.weight_layers) for name, one in passages.items()} == {
                name: divmod(cost, len(graph)) for name, cost in reached.items()
            }
            for norm in (one for one in graph if one.remembers):
                assert graph.way(drop, norm) == way_of(passages.get(norm.name))
                if norm.name in passages:
                    steps = [drop, *graph.route(drop, norm), norm]
                    assert all(one.name in other.inputs for one, other in pairwise(steps))
                    assert (
                        sum(noise.edges[one.name, other.name]["weight"] for one, other in pairwise(steps))
                        == (reached[norm.name])
                    )
            assert graph.first_norm(drop) == next(iter(graph.norms_reached(drop)), None)

    def test_dropouts_that_arrive(self, seed: int) -> None:
        graph = scribble(seed)
        noise = noise_edges(graph)
        for norm in graph.of(BatchNorm):
            above = networkx.ancestors(noise, norm.name)
            dropouts = [one.name for one in graph if one.drops and one.name in above]
            assert [one.name for one in graph.dropouts_reaching(norm)] == dropouts
            assert graph.noise.number_at(norm.name, [*dropouts, "elsewhere"]) == len(dropouts) + 1

    def test_forks_are_immediate_dominators(self, seed: int) -> None:
        graph = scribble(seed)
        edges = networkx.DiGraph([(name, one.name) for one in graph for name in one.inputs])
        edges.add_edges_from([("root", "x"), ("root", "y")])
        found = {**networkx.immediate_dominators(edges, "root")}
        expected = {name: None if fork == "root" else fork for name, fork in found.items() if name != "root"}
        assert dict(graph.forks) == expected

    def test_regions_of_residuals(self, seed: int) -> None:
        graph = scribble(seed)
        for one in graph.residuals():
            assert one.branch | one.shortcut <= {each.name for each in graph.between(graph[one.fork], graph[one.add])}


def noise_edges(graph: Graph) -> networkx.DiGraph:
    """What noise travels along; the price of a step is that of the node it leads to."""
    edges = networkx.DiGraph()
    edges.add_nodes_from(one.name for one in graph)
    for one in graph:
        is_max_pool = isinstance(one.op, Pool)
        price = len(graph) if is_max_pool else int(isinstance(one.op, WEIGHT_LAYERS))
        free = [name for name in one.inputs if not (graph[name].remembers or graph[name].blocks)]
        edges.add_weighted_edges_from(
            (name, one.name, price) for name in free if not isinstance(graph[name].op, Discrete)
        )
    return edges


def way_of(passage: Passage | None) -> Way | None:
    if passage is None:
        return None
    return Way.POOLED if passage.max_pools else Way.WEIGHTED if passage.weight_layers else Way.DIRECT
