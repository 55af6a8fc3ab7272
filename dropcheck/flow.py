"""Names in execution order with the data that flows between them, and what paths they are on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any


class Flow:
    """A directed acyclic graph of names.

    ``inputs`` says what each name reads, ``readers`` what reads it; both are in execution order, which ``positions``
    tells. Every answer in a list is in execution order, too. What is asked of every model is answered by plain walks,
    the rest by networkx, whose import takes longer than that of all else.
    """

    def __init__(
        self,
        inputs: Mapping[str, Sequence[str]],
        readers: Mapping[str, Sequence[str]],
        positions: Mapping[str, int],
    ) -> None:
        self._inputs, self._readers, self._position = inputs, readers, positions

    def ordered(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=self._position.__getitem__)

    def after(self, name: str) -> list[str]:
        """Everything that some path from ``name`` leads to."""
        return self.ordered(self.reachable(self._readers[name]))

    def before(self, name: str) -> list[str]:
        """Everything from which some path leads to ``name``."""
        return self.ordered(self.leading_to(self._inputs[name]))

    def between(self, start: str, end: str) -> list[str]:
        """Everything on any path from ``start`` to ``end``, both excluded."""
        first, last = self._position[start], self._position[end]
        if first >= last:
            return []
        import networkx

        # What is executed from the one to the other holds every path between them, and little else.
        window = self._graph.subgraph(self._names[first : last + 1])
        return self.ordered(networkx.descendants(window, start) & networkx.ancestors(window, end))

    def reachable(self, sources: Iterable[str], *, around: Iterable[str] = ()) -> set[str]:
        """``sources`` and what they lead to on paths that touch nothing in ``around``."""
        return _walked(self._readers, sources, closed=set(around))

    def leading_to(self, targets: Iterable[str], *, around: Iterable[str] = ()) -> set[str]:
        """``targets`` and everything from which a path that touches nothing in ``around`` leads to one of them."""
        return _walked(self._inputs, targets, closed=set(around))

    def forks(self, sources: Iterable[str]) -> dict[str, str | None]:
        """For all that depends on ``sources``: the last name that every path to it passes, None if there is none.

        These are the immediate dominators; without cycles, one pass finds them (Cooper, Harvey and Kennedy 2001).
        """
        roots = set(sources)
        forks: dict[str, str | None] = {}
        depths: dict[str | None, int] = {None: 0}
        for name, inputs in self._inputs.items():
            if len(inputs) == 1 and name not in roots:
                if (source := inputs[0]) in forks:
                    forks[name], depths[name] = source, depths[source] + 1
                continue
            live = [each for each in inputs if each in forks]
            fork = None if name in roots or not live else live[0]
            for other in live[1:] if name not in roots else ():
                fork = _common(forks, depths, fork, other)
            if live or name in roots:
                forks[name], depths[name] = fork, depths[fork] + 1
        return forks

    @cached_property
    def _names(self) -> list[str]:
        return list(self._inputs)

    @cached_property
    def _graph(self) -> Any:
        import networkx

        graph: Any = networkx.DiGraph()
        graph.add_nodes_from(self._names)
        graph.add_edges_from((source, name) for name, inputs in self._inputs.items() for source in inputs)
        return graph


def _walked(neighbours: Mapping[str, Sequence[str]], starts: Iterable[str], closed: set[str]) -> set[str]:
    """``starts`` and all their neighbours' neighbours, without those that are closed."""
    found = {name for name in starts if name not in closed}
    pending = list(found)
    while pending:
        for name in neighbours[pending.pop()]:
            if name not in found and name not in closed:
                found.add(name)
                pending.append(name)
    return found


def _common(
    forks: Mapping[str, str | None], depths: Mapping[str | None, int], one: str | None, other: str | None
) -> str | None:
    """The last name on the way to both."""
    while one is not None and one != other:
        if depths[one] < depths[other]:
            one, other = other, one
        assert one is not None  # the deeper of two, and None has no depth
        one = forks[one]
    return one
