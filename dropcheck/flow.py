"""Names in execution order with the data that flows between them: where graph algorithms from networkx come in."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import networkx as nx

_ORIGIN = object()  # stands before several sources, so that one dominator tree covers them all


class Flow:
    """A directed acyclic graph of names.

    ``names`` are in execution order, an edge ``(source, target, cost)`` follows the data, ``cost`` is what entering
    the target costs. Every answer in a list is in execution order.
    """

    def __init__(self, names: Iterable[str], edges: Iterable[tuple[str, str, int]]) -> None:
        self._graph: Any = nx.DiGraph()
        self._graph.add_nodes_from(names)
        self._graph.add_weighted_edges_from(edges)
        self._names: list[str] = list(self._graph)
        self._position = {name: position for position, name in enumerate(self._names)}

    def ordered(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=self._position.__getitem__)

    def readers(self, name: str) -> list[str]:
        """The targets of its edges."""
        return self.ordered(self._graph.successors(name))

    def after(self, name: str) -> list[str]:
        """Everything that some path from ``name`` leads to."""
        return self.ordered(nx.descendants(self._graph, name))

    def before(self, name: str) -> list[str]:
        """Everything from which some path leads to ``name``."""
        return self.ordered(nx.ancestors(self._graph, name))

    def between(self, start: str, end: str) -> list[str]:
        """Everything on any path from ``start`` to ``end``, both excluded."""
        if self._position[start] >= self._position[end]:
            return []
        window = self._window(start, end)
        return self.ordered(nx.descendants(window, start) & nx.ancestors(window, end))

    def reachable(self, sources: Iterable[str], *, around: Iterable[str] = ()) -> set[str]:
        """``sources`` and what they lead to on paths that touch nothing in ``around``."""
        closed = set(around)
        graph = nx.subgraph_view(self._graph, filter_node=lambda name: name not in closed) if closed else self._graph
        return set(chain.from_iterable(nx.bfs_layers(graph, [name for name in sources if name not in closed])))

    def leading_to(self, targets: Iterable[str]) -> set[str]:
        """``targets`` and everything from which a path leads to one of them."""
        return set(chain.from_iterable(nx.bfs_layers(self._graph.reverse(copy=False), list(targets))))

    def forks(self, sources: Iterable[str]) -> dict[str, str | None]:
        """For all that depends on ``sources``: the last name that every path to it passes, None if there is none."""
        graph = self._graph.copy()
        graph.add_node(_ORIGIN)
        graph.add_edges_from((_ORIGIN, name) for name in sources)
        dominators = nx.immediate_dominators(graph, _ORIGIN)
        return {name: None if fork is _ORIGIN else fork for name, fork in dominators.items() if name is not _ORIGIN}

    def costs(self, start: str) -> dict[str, int]:
        """The cost of the cheapest path from ``start`` to everything it leads to, itself included."""
        return dict(nx.single_source_dijkstra_path_length(self._graph, start))

    def cheapest(self, start: str, end: str) -> list[str] | None:
        """The names on the cheapest path from ``start`` to ``end``, both excluded; None without a path."""
        window = self._window(start, end)
        if start not in window or not nx.has_path(window, start, end):
            return None
        return list(nx.dijkstra_path(window, start, end)[1:-1])

    def _window(self, start: str, end: str) -> Any:
        """What is executed from ``start`` to ``end``: it holds every path between them, and little else."""
        return self._graph.subgraph(self._names[self._position[start] : self._position[end] + 1])
