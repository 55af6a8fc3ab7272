"""The captured model as a graph of operations, and the questions rules ask of it.

The graph is a value: nodes in execution order, each naming its inputs. Questions are answered with networkx on a
``DiGraph`` whose nodes are node names and whose edges follow the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from dropcheck.ops import Add, BatchNorm, Constant, Dropout, Input, LocalNorm, Op, Pool, Recurrent, Weight


@dataclass(frozen=True, slots=True)
class Site:
    """A region of a source file; lines and columns count from 1, the end column is exclusive."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Node:
    """One operation at one call site.

    Attributes:
        name: unique within the graph.
        path: module path as ``named_modules()`` gives it; functions get ``<module path>/<function>``.
        inputs: names of the nodes whose results it reads, in argument order.
        shape: of its (first) result, None when capture had no example input.
        site: where it is reported: the call in the user's file, or the construction for layers a container calls.
        built: where its layer was constructed, if that is known and it has a layer.
        training: whether the layer is in training mode while the model trains.
    """

    name: str
    path: str
    op: Op
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    site: Site | None = None
    built: Site | None = None
    training: bool = True

    @property
    def drops(self) -> bool:
        """Whether this is a dropout that really drops something while the model trains."""
        return isinstance(self.op, Dropout) and self.op.drop_rate > 0.0 and self.training

    @property
    def remembers(self) -> bool:
        """Whether this norm stores training statistics and uses them at evaluation: where a shift does its harm."""
        return isinstance(self.op, BatchNorm) and self.op.tracks and self.training

    @property
    def blocks(self) -> bool:
        """Whether a variance shift ends here: the statistics in use are computed anew from the very input."""
        return isinstance(self.op, LocalNorm) or (isinstance(self.op, BatchNorm) and not self.op.tracks)


@dataclass(frozen=True, slots=True)
class Residual:
    """An addition whose inputs share one origin.

    ``fork`` and ``add`` are node names; ``shortcut`` holds the nodes of the input with the fewest weight layers
    (empty for the identity), ``branch`` those of the others. Neither contains the fork or the add itself.
    """

    fork: str
    add: str
    branch: frozenset[str]
    shortcut: frozenset[str]


class Graph:
    """Nodes in execution order and the questions asked of them.

    Raises:
        ValueError: a name occurs twice, or an input names no earlier node.
    """

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self._by_name: dict[str, Node] = {}
        for node in nodes:
            if node.name in self._by_name:
                raise ValueError(f"two nodes are called {node.name!r}")
            for name in node.inputs:
                if name not in self._by_name:
                    raise ValueError(f"{node.name!r} reads {name!r}, which is no earlier node")
            self._by_name[node.name] = node

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]
