"""Where the noise of dropouts travels: all dropouts followed at once, in one pass over a model's operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from heapq import heappop, heappush

from dropcheck.node import Node
from dropcheck.ops import (
    WEIGHT_LAYERS,
    Attention,
    BatchNorm,
    Discrete,
    Dropout,
    LocalNorm,
    Op,
    Pool,
    Recurrent,
    Reduce,
)


class Way(StrEnum):
    """What noise cannot avoid on its way to a norm: elementwise work alone, weight layers, or max-pools."""

    DIRECT = "direct"
    WEIGHTED = "weighted"
    POOLED = "pooled"


_DIRECT, _WEIGHTED, _POOLED = Way  # to get at a member of an enum takes longer than what is done with it


@dataclass(frozen=True, slots=True)
class Passage:
    """What noise cannot avoid on its way to a norm: the fewest max-pools, and with these the fewest weight layers."""

    max_pools: int
    weight_layers: int


# The dropouts whose noise is at some place, one bit each: those with a way there of elementwise work alone, those with
# a way there around all max-pools, and all of them. Each is a part of the next.
Arrival = tuple[int, int, int]

_SILENCE: Arrival = (0, 0, 0)
_SOURCES: tuple[type[Op], ...] = (Dropout, Recurrent, Attention)
_ABSORBERS: tuple[type[Op], ...] = (BatchNorm, LocalNorm, Discrete)
# All else passes noise on as it comes.
_CHANGING = frozenset({*_SOURCES, *_ABSORBERS, *WEIGHT_LAYERS, Pool})


class Noise:
    """The noise of all dropouts, those inside recurrent and attention layers too, wherever it gets in a graph.

    ``nodes`` are in execution order; ``positions`` and ``readers`` (those that read its result) are by a node's name.
    """

    def __init__(
        self, nodes: Sequence[Node], positions: Mapping[str, int], readers: Mapping[str, Sequence[str]]
    ) -> None:
        self._nodes, self._positions, self._readers = nodes, positions, readers
        self._sources: list[Node] = []
        self._bits: dict[str, int] = {}
        self._arrivals = self._followed()

    def way(self, dropout: str, norm: str) -> Way | None:
        """How the noise of this dropout gets to the norm at best; None if it does not."""
        return self.ways([dropout], norm)[0]

    def ways(self, dropouts: Iterable[str], norm: str) -> list[Way | None]:
        """:meth:`way` of each of these dropouts."""
        direct, around_pools, arriving = self._arrivals[norm]
        bits = [self._bits.get(dropout, 0) for dropout in dropouts]
        if not direct and around_pools == arriving:
            return [_WEIGHTED if arriving & bit else None for bit in bits]
        return [
            (_DIRECT if direct & bit else _WEIGHTED if around_pools & bit else _POOLED) if arriving & bit else None
            for bit in bits
        ]

    def dropouts_at(self, name: str) -> Iterator[Node]:
        """The dropout layers whose noise arrives at this node, in execution order."""
        return self._named(self._arrivals[name][2] & self._dropouts)

    def number_at(self, name: str, others: Iterable[str] = ()) -> int:
        """How many :meth:`dropouts_at` gives, ``others`` counted among them once each."""
        known = self._arrivals[name][2] & self._dropouts
        unknown = set()
        for other in others:
            if other in self._bits:
                known |= self._bits[other]
            else:
                unknown.add(other)
        return known.bit_count() + len(unknown)

    def first_norm(self, dropout: str) -> Node | None:
        """The norm with a memory that is the first to be executed of those the noise of this dropout reaches."""
        return self._first_norms.get(dropout)

    def first_norm_behind(self, name: str) -> Node | None:
        """The norm with a memory that is the first to be executed of those that noise entering here would reach."""
        pending = [self._positions[reader] for reader in self._readers[name]]
        seen = set(pending)
        while pending:
            node = self._nodes[heappop(pending)]
            if node.remembers:
                return node
            fresh = () if absorbs(node) else {self._positions[one] for one in self._readers[node.name]} - seen
            for position in fresh:
                heappush(pending, position)
            seen.update(fresh)
        return None

    def passages(self, start: str) -> dict[str, Passage]:
        """What noise from ``start`` passes on the easiest way to everything that it reaches, in execution order."""
        first = self._positions[start]
        costs, _ = self._spread(first, len(self._nodes))
        return {self._nodes[one].name: Passage(*costs[one]) for one in sorted(costs) if one != first}

    def route(self, start: str, end: str) -> list[Node] | None:
        """The nodes between the two on a way with the fewest max-pools, and with these the fewest weight layers.

        None where nothing gets from ``start`` to ``end``. Of equally good ways, the one that is executed first.
        """
        if (chain := self._chain(start, end)) is not None:
            return chain
        first, last = self._positions[start], self._positions[end]
        _, came_from = self._spread(first, last)
        if last not in came_from:
            return None
        steps = []
        while (last := came_from[last]) != first:
            steps.append(self._nodes[last])
        return steps[::-1]

    def _chain(self, start: str, end: str) -> list[Node] | None:
        """The way from ``start`` to ``end`` if every step on it, seen from the end, reads one node only."""
        steps: list[Node] = []
        inputs = self._nodes[self._positions[end]].inputs
        while len(inputs) == 1 and inputs[0] != start:
            node = self._nodes[self._positions[inputs[0]]]
            if absorbs(node):
                return None
            steps.append(node)
            inputs = node.inputs
        return steps[::-1] if len(inputs) == 1 and not absorbs(self._nodes[self._positions[start]]) else None

    def _spread(self, first: int, last: int) -> tuple[dict[int, tuple[int, int]], dict[int, int]]:
        """By position, as far as ``last``: max-pools and weight layers passed on the way there, and the step before."""
        costs = {first: (0, 0)}
        came_from: dict[int, int] = {}
        pending = [first]
        while pending and (position := heappop(pending)) < last:
            node = self._nodes[position]
            if absorbs(node):
                continue
            for name in self._readers[node.name]:
                reader = self._positions[name]
                cost = _entering(self._nodes[reader].op, costs[position])
                if reader not in costs:
                    heappush(pending, reader)
                if reader not in costs or cost < costs[reader]:
                    costs[reader], came_from[reader] = cost, position
        return costs, came_from

    def _followed(self) -> dict[str, Arrival]:
        arrivals: dict[str, Arrival] = {}
        leaving: dict[str, Arrival] = {}
        for node in self._nodes:
            name, inputs, kind = node.name, node.inputs, type(node.op)
            arriving = leaving[inputs[0]] if len(inputs) == 1 else _joined([leaving[each] for each in inputs])
            arrivals[name] = arriving
            if kind in _SOURCES or (kind in _CHANGING and arriving is not _SILENCE):
                arriving = self._behind(node, arriving)
            leaving[name] = arriving
        return arrivals

    def _behind(self, node: Node, arriving: Arrival) -> Arrival:
        op, kind = node.op, type(node.op)
        if kind in _ABSORBERS:
            return _SILENCE if absorbs(node) else arriving
        direct, around_pools, noisy = arriving
        if isinstance(op, Pool):
            return (0, 0, noisy) if op.reduce is Reduce.MAX else arriving
        if kind in WEIGHT_LAYERS:
            direct = 0
        if kind in _SOURCES:
            bit = self._bits[node.name] = 1 << len(self._sources)
            self._sources.append(node)
            return direct | bit, around_pools | bit, noisy | bit
        return direct, around_pools, noisy

    def _named(self, bits: int) -> Iterator[Node]:
        while bits:
            lowest = bits & -bits
            yield self._sources[lowest.bit_length() - 1]
            bits ^= lowest

    @cached_property
    def _dropouts(self) -> int:
        return sum(self._bits[node.name] for node in self._sources if node.drops)

    @cached_property
    def _first_norms(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        seen = 0
        for node in self._nodes:
            if not isinstance(node.op, BatchNorm):
                continue
            arriving = self._arrivals[node.name][2]
            if arriving & ~seen and node.remembers:
                found.update((source.name, node) for source in self._named(arriving & ~seen))
                seen |= arriving
        return found


def absorbs(node: Node) -> bool:
    """Whether noise stops here: normalised away, made part of stored statistics, or turned into integers."""
    op = node.op
    if isinstance(op, BatchNorm):
        return node.training or not op.tracks
    return isinstance(op, (Discrete, LocalNorm))


def _joined(arrivals: Iterable[Arrival]) -> Arrival:
    direct, around_pools, noisy = _SILENCE
    for one in arrivals:
        direct, around_pools, noisy = direct | one[0], around_pools | one[1], noisy | one[2]
    return direct, around_pools, noisy


def _entering(op: Op, cost: tuple[int, int]) -> tuple[int, int]:
    """Max-pools and weight layers passed, this operation included."""
    max_pools, weight_layers = cost
    if isinstance(op, Pool):
        return max_pools + (op.reduce is Reduce.MAX), weight_layers
    return max_pools, weight_layers + isinstance(op, WEIGHT_LAYERS)
