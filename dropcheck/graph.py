"""The captured model as a graph of operations, and the questions rules ask of it.

The graph is a value: nodes in execution order, each naming its inputs. Questions about paths are answered by a
:class:`~dropcheck.flow.Flow` of node names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dropcheck.flow import Flow
from dropcheck.node import Node, Site
from dropcheck.noise import Noise, Passage, Way
from dropcheck.ops import NORMS, WEIGHT_LAYERS, Add, BatchNorm, Input, Op, Pool, Rearrange

__all__ = ["NORMS", "WEIGHT_LAYERS", "Graph", "Node", "Passage", "Residual", "Site", "Way"]


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
        self._readers: dict[str, list[str]] = {}
        self._of: dict[tuple[type[Op], ...], tuple[Node, ...]] = {}
        for node in nodes:
            if node.name in self._by_name:
                raise ValueError(f"two nodes are called {node.name!r}")
            for name in node.inputs:
                if name not in self._by_name:
                    raise ValueError(f"{node.name!r} reads {name!r}, which is no earlier node")
                readers = self._readers[name]
                if not readers or readers[-1] != node.name:
                    readers.append(node.name)
            self._by_name[node.name] = node
            self._readers[node.name] = []

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def of(self, *kinds: type[Op]) -> tuple[Node, ...]:
        """The nodes whose operation is of one of these kinds, in execution order."""
        if kinds not in self._of:
            found = [kind for kind in self._by_kind if issubclass(kind, kinds)]
            if len(found) == 1:
                self._of[kinds] = tuple(self._by_kind[found[0]])
            else:
                self._of[kinds] = tuple(node for node in self.nodes if type(node.op) in found) if found else ()
        return self._of[kinds]

    def named(self, names: Iterable[str], *kinds: type[Op]) -> tuple[Node, ...]:
        """The nodes so called (of these kinds, if any are given), in the order of the names."""
        nodes = tuple(map(self._by_name.__getitem__, names))
        return tuple(node for node in nodes if isinstance(node.op, kinds)) if kinds else nodes

    def producers(self, node: Node) -> tuple[Node, ...]:
        """The nodes it reads, in argument order."""
        return self.named(node.inputs)

    def successors(self, node: Node) -> tuple[Node, ...]:
        """The nodes that read it, in execution order."""
        return self.named(self._readers[node.name])

    def downstream(self, node: Node, *kinds: type[Op]) -> tuple[Node, ...]:
        """The nodes its result travels to (of these kinds, if any are given), in execution order."""
        return self.named(self.flow.after(node.name), *kinds)

    def between(self, start: Node, end: Node, *kinds: type[Op]) -> tuple[Node, ...]:
        """The nodes on any path from ``start`` to ``end`` (of these kinds, if any are given), both ends excluded."""
        return self.named(self.flow.between(start.name, end.name), *kinds)

    def dropouts_reaching(self, norm: Node) -> tuple[Node, ...]:
        """The dropouts whose noise arrives at the norm without being blocked, or remembered by another norm, before."""
        return tuple(self.noise.dropouts_at(norm.name))

    def way(self, dropout: Node, norm: Node) -> Way | None:
        """What the noise of this dropout cannot avoid on its way to the norm; None if it does not get there."""
        return self.noise.way(dropout.name, norm.name)

    def first_norm(self, dropout: Node) -> Node | None:
        """The first of :meth:`norms_reached`, found without looking for the others."""
        return self.noise.first_norm(dropout.name)

    def norms_reached(self, dropout: Node) -> tuple[Node, ...]:
        """The norms that remember statistics and are the first on some path to see the noise of this dropout.

        In a residual network these are all that follow: rules that look at every dropout ask :meth:`first_norm`.
        """
        return self.named(self.passages(dropout))

    def passages(self, dropout: Node) -> Mapping[str, Passage]:
        """What its noise passes on the easiest way to each of :meth:`norms_reached`, by the norm's name."""
        found = self.noise.passages(dropout.name)
        return {name: passage for name, passage in found.items() if self[name].remembers}

    def route(self, dropout: Node, norm: Node) -> tuple[Node, ...]:
        """The nodes between them on the way that :meth:`passages` describes.

        Raises:
            ValueError: the noise of this dropout does not reach the norm.
        """
        nodes = self.noise.route(dropout.name, norm.name)
        if nodes is None:
            raise ValueError(f"no noise of {dropout.name!r} reaches {norm.name!r}")
        return tuple(nodes)

    def is_last_batch_norm(self, node: Node) -> bool:
        """Whether it is a batch norm from which no path leads to another one."""
        return isinstance(node.op, BatchNorm) and node.name not in self._before_batch_norms

    def residuals(self) -> tuple[Residual, ...]:
        """The additions whose inputs share one origin, in execution order.

            fork ─┬─ branch ───┬─ add          The fork is the last node that every path to the addition passes.
                  └─ shortcut ─┘

        A sum of more than two terms is one residual. Parameters and other constants are no terms, and a
        concatenation (DenseNet) is no residual.
        """
        return self._residuals

    def head(self) -> tuple[Node, ...]:
        """The nodes behind the feature extractor, in execution order, the outputs included.

        They are what the inputs reach only through a global pool (a gate such as squeeze-and-excitation joins the
        feature map again and is no head); without such a pool, what follows the last change from feature maps to
        vectors; without that, what follows the last batch norm; else nothing.
        """
        return self._head

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """By node name: its place in :attr:`nodes`."""
        return {node.name: position for position, node in enumerate(self.nodes)}

    @cached_property
    def flow(self) -> Flow:
        """Node names, with an edge from each node to every node that reads it."""
        return Flow({node.name: node.inputs for node in self.nodes}, self._readers, self.positions)

    @cached_property
    def noise(self) -> Noise:
        """Where the noise of dropouts gets, by node names."""
        return Noise(self.nodes, self.positions, self._readers)

    @cached_property
    def forks(self) -> Mapping[str, str | None]:
        """For all that depends on the model's inputs: the last node every path to it passes, None if there is none."""
        return self.flow.forks(node.name for node in self.of(Input))

    @cached_property
    def _by_kind(self) -> dict[type[Op], list[Node]]:
        by_kind: dict[type[Op], list[Node]] = {}
        for node in self.nodes:
            by_kind.setdefault(type(node.op), []).append(node)
        return by_kind

    @cached_property
    def _before_batch_norms(self) -> set[str]:
        return self.flow.leading_to(name for norm in self.of(BatchNorm) for name in norm.inputs)

    @cached_property
    def _head(self) -> tuple[Node, ...]:
        pools = [node.name for node in self.of(Pool) if isinstance(node.op, Pool) and node.op.is_global]
        if pools:
            images = self.flow.leading_to(pools) & {node.name for node in self.of(Input)}
            around = self.flow.reachable(images, around=pools)
            behind = self.flow.reachable(pools)
            behind -= self.flow.leading_to([*around, *pools])
            if behind:
                return self.named(self.flow.ordered(behind))
        cuts = [node for node in self.of(Rearrange) if self._flattens(node)] or self.of(BatchNorm)
        return self.downstream(cuts[-1]) if cuts else ()

    @cached_property
    def _residuals(self) -> tuple[Residual, ...]:
        found = (self._residual(add) for add in self.of(Add) if not self._is_partial_sum(add))
        return tuple(residual for residual in found if residual is not None)

    def _is_partial_sum(self, add: Node) -> bool:
        """Whether only another sum with the same fork reads it."""
        readers = self._readers[add.name]
        if len(readers) != 1 or not isinstance(self[readers[0]].op, Add):
            return False
        return self.forks.get(add.name) == self.forks.get(readers[0])

    def _terms(self, add: Node) -> list[str]:
        """The activations it sums, partial sums taken apart."""
        terms: dict[str, None] = {}
        pending = [add]
        while pending:
            for term in self.producers(pending.pop()):
                if isinstance(term.op, Add) and self._is_partial_sum(term):
                    pending.append(term)
                elif term.name in self.forks:
                    terms[term.name] = None
        return list(terms)

    def _residual(self, add: Node) -> Residual | None:
        terms, fork = self._terms(add), self.forks.get(add.name)
        if len(terms) < 2 or fork is None:
            return None
        regions = [self._region(fork, term) for term in terms]
        shortcut = min(regions, key=self._weightiness)
        return Residual(fork, add.name, frozenset().union(*regions) - shortcut, shortcut)

    def _region(self, fork: str, term: str) -> frozenset[str]:
        """The nodes on any path from a fork to a term behind it, this one included: no such path misses the fork."""
        return frozenset(name for name in self.flow.leading_to([term], around=[fork]) if name in self.forks)

    def _weightiness(self, names: frozenset[str]) -> tuple[int, int, int]:
        ops = [self._by_name[name].op for name in names]
        weight_layers = sum(isinstance(op, WEIGHT_LAYERS) for op in ops)
        return weight_layers, sum(isinstance(op, NORMS) for op in ops), len(ops)

    def _flattens(self, node: Node) -> bool:
        """Whether it turns feature maps into vectors."""
        before = self._by_name[node.inputs[0]].shape if node.inputs else None
        if node.shape is None or before is None:
            return isinstance(node.op, Rearrange) and node.op.kind == "flatten"
        return len(node.shape) == 2 < len(before)
