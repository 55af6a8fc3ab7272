"""Residual branches: what a block adds to its stream, and where in a branch its dropouts stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from dropcheck.graph import WEIGHT_LAYERS, Graph, Node
from dropcheck.ops import Activation, Add, Dropout, Granularity, Lookup, Rearrange, Resample, Weight

LONGEST = 6
"""Weight layers in a row that are still a block's branch (an inverted bottleneck has 3, attention 4) and no network."""

Forks = Mapping[str, str | None]

_LAYERS = frozenset(WEIGHT_LAYERS)
_UNITS = (Granularity.ELEMENT, Granularity.CHANNEL)


class Branch(NamedTuple):
    """What one residual block adds to its stream; no other residual block is inside.

        fork ─┬─ spine ────┬─ add          On the spine is what every path through the branch passes: neither gates
              └─ shortcut ─┘               (squeeze-and-excitation) nor the paths of a split.

    Attributes:
        add: the addition.
        spine: the branch in execution order, fork and addition excluded.
        shortcut: the same of the addition's other term; empty for the identity.
        dropouts: those on the spine that drop single units or channels.
        last_layer: the last weight layer of the spine; None if that is no layer with one input (attention, a matrix
            product).
    """

    add: Node
    spine: tuple[Node, ...]
    shortcut: tuple[Node, ...]
    dropouts: tuple[Node, ...]
    last_layer: Node | None


@lru_cache(maxsize=1)
def branches(graph: Graph) -> tuple[Branch, ...]:
    """The residual branches of a model's blocks, in execution order of their additions.

    Of the terms of a sum the one with the fewest weight layers is the shortcut: the identity, or a projection beside
    several layers or beside one with an activation. Other sums are of parallel paths: so are those of terms that look
    their input up in tables of their own (wide and deep).
    """
    additions = graph.of(Add)
    forks = graph.forks if additions else {}
    found: list[Branch] = []
    sums: set[str] = set()
    for add in additions:
        ways = _ways(graph, forks, add)
        if len(ways) < 2:
            continue
        sums.add(add.name)
        shortcut, *others = sorted(ways, key=itemgetter(slice(3)))
        for way in others:
            if way.is_beside(shortcut) and sums.isdisjoint(way.additions):
                found.append(Branch(add, way.nodes, shortcut.nodes, way.dropouts, way.last_layer))
    return tuple(found)


def moved(graph: Graph, places: Mapping[str, str], end: int | None = None) -> tuple[Node, ...]:
    """The graph's nodes with dropouts, by name, put right ahead of weight layers, by name, all at once.

    No more of them than leads to the position ``end``, which is left out.
    """
    arrivals: dict[str, list[Node]] = {}
    for name, layer in places.items():
        arrivals.setdefault(layer, []).append(graph[name])
    start = min((graph.positions[name] for name in (*places, *arrivals)), default=len(graph))
    stands_for: dict[str, str] = {}
    nodes = list(graph.nodes[:start])
    for node in graph.nodes[start:end]:
        inputs = node.inputs
        if not stands_for.keys().isdisjoint(inputs):
            inputs = tuple(stands_for.get(name, name) for name in inputs)
        if node.name in places:
            stands_for[node.name] = inputs[0]
            continue
        for dropout in arrivals.get(node.name, ()):
            nodes.append(replace(dropout, inputs=inputs[:1]))
            inputs = (dropout.name, *inputs[1:])
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
    return tuple(nodes)


def drops_units(node: Node) -> bool:
    """Whether it is a dropout of single units or channels that drops some, but not all, while the model trains."""
    op = node.op
    return isinstance(op, Dropout) and op.drop_rate < 1.0 and op.granularity in _UNITS and node.drops


class _Way(NamedTuple):
    """A term of a sum: how many weight layers and activations it passes, its length, its nodes.

    ``departs``: whether it makes maps larger (what shrinks and grows again is no branch but a network inside another)
    or looks its input up in a table.
    ``additions``: those it passes, by name. The others as of a :class:`Branch`.
    """

    layers: int
    activations: int
    length: int
    nodes: tuple[Node, ...]
    departs: bool
    additions: list[str]
    dropouts: tuple[Node, ...]
    last_layer: Node | None

    def is_beside(self, shortcut: _Way) -> bool:
        """Whether this is a block's branch if the other is the shortcut."""
        if self.departs or shortcut.departs or not 1 <= self.layers <= LONGEST or shortcut.layers > 1:
            return False
        return shortcut.layers == 0 or self.layers > 1 or self.activations > 0 == shortcut.activations


def _ways(graph: Graph, forks: Forks, add: Node) -> list[_Way]:
    """The terms of a sum that come from where it forks, as the nodes that all their paths pass, ends excluded."""
    fork = forks.get(add.name)
    ways = []
    for term in add.inputs if fork is not None else ():
        names: list[str] = []
        name = term if term in forks else None
        while name is not None and name != fork:
            names.append(name)
            name = forks[name]
        if name is not None:
            ways.append(_counted(graph.named(reversed(names))))
    return ways


def _counted(nodes: tuple[Node, ...]) -> _Way:
    layers = activations = 0
    departs = False
    additions: list[str] = []
    dropouts: list[Node] = []
    last: Node | None = None
    for node in nodes:
        op, kind = node.op, type(node.op)
        if kind in _LAYERS:
            layers, last = layers + 1, node
            departs = departs or (isinstance(op, Weight) and "transpose" in op.kind.lower())
        elif kind is Activation:
            activations += 1
        elif kind is Dropout:
            if drops_units(node):
                dropouts.append(node)
        elif kind is Add:
            additions.append(node.name)
        elif kind in (Resample, Lookup) or (isinstance(op, Rearrange) and op.kind.startswith("nearest")):
            departs = True
    layer = last if last is not None and isinstance(last.op, Weight) else None
    return _Way(layers, activations, len(nodes), nodes, departs, additions, tuple(dropouts), layer)
