"""Calls → Graph, through the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dropcheck import ops
from dropcheck.capture.calls import Call, Value
from dropcheck.capture.catalogue import operation
from dropcheck.graph import Graph, Node, Site
from dropcheck.ops import Op

_READS_ONE = (ops.BatchNorm, ops.LocalNorm, ops.Lookup, ops.Dropout)


def lower(calls: Sequence[Call], built: Mapping[str, Site]) -> Graph:
    """The graph of a model's calls.

    ``built`` maps module paths to construction sites. What does not depend on the model's input is folded away,
    unless it is random; results that only rename their argument take no node.
    """
    lowering = _Lowering(built)
    for index, call in enumerate(calls):
        lowering.add(index, call)
    return Graph(tuple(_without_unused_constants(lowering.nodes)))


@dataclass(slots=True)
class _Lowering:
    built: Mapping[str, Site]
    nodes: list[Node] = field(default_factory=list)
    node_of: dict[int, str] = field(default_factory=dict)  # call index → node name
    constants: dict[str, bool] = field(default_factory=dict)  # names of constant nodes → random
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, index: int, call: Call) -> None:
        sources = self._sources(call)
        op = operation(call)
        if op is None and sources:
            self.node_of[index] = sources[0]
            return
        op, inputs = self._resolve(op or ops.Constant(), call, sources)
        name, path = self._names(call)
        site, built = self._sites(call)
        self.nodes.append(Node(name, path, op, inputs, call.shape, site, built, call.training, call.random_in_eval))
        self.node_of[index] = name
        if isinstance(op, ops.Constant):
            self.constants[name] = op.random

    def _resolve(self, op: Op, call: Call, sources: list[str]) -> tuple[Op, tuple[str, ...]]:
        """The operation once it is known which arguments depend on the model's input, and its inputs."""
        depends = [name for name in sources if name not in self.constants]
        random = [name for name in sources if self.constants.get(name)]
        if isinstance(op, ops.Input | ops.Constant):
            return op, ()
        if not depends and not isinstance(op, ops.Output):
            return ops.Constant(random=bool(random)), ()
        inputs = (*depends, *random)
        match op:
            case ops.Add() | ops.Multiply() if len(inputs) == 1:
                squares = isinstance(op, ops.Multiply) and _repeats(call)
                return (ops.Activation("square") if squares else ops.Scale(call.target)), inputs
            case ops.MatMul() if len(inputs) == 1 and not _repeats(call):
                return ops.Weight(call.target, _contracted(self._constant_values(call))), inputs
            case ops.Weight() if len(depends) > 1 and call.module is None:
                return ops.MatMul(), inputs  # weights computed from the input
            case ops.Rearrange() if len(depends) > 1:
                return ops.Concat(), inputs  # elements of several activations side by side
            case _ if isinstance(op, _READS_ONE):
                return op, inputs[:1]
        return op, inputs

    def _sources(self, call: Call) -> list[str]:
        """The nodes a call reads, each once, in argument order."""
        names = [self.node_of[value.call] for value in call.tensors() if value.call is not None]
        return list(dict.fromkeys(names))

    def _constant_values(self, call: Call) -> list[Value]:
        return [v for v in call.tensors() if v.call is None or self.node_of[v.call] in self.constants]

    def _names(self, call: Call) -> tuple[str, str]:
        """The node's unique name and the path reports use.

        A layer keeps its path in every call; a second function of the same name in one module is numbered.
        """
        path = call.path
        if call.module is None and call.target not in ("input", "output"):
            path = f"{call.path}/{call.target}" if call.owner is None else call.owner_path
        self.seen[path] += 1
        count = self.seen[path]
        if count > 1 and "/" in path:
            path = f"{path}_{count - 1}"
            return path, path
        return (path if count == 1 else f"{path}@{count}"), path

    def _sites(self, call: Call) -> tuple[Site | None, Site | None]:
        """Where the operation is reported, and where its layer was constructed."""
        built = self.built.get(call.path) if call.module is not None else None
        where = call.where
        if where is None:
            return built, built
        site = where.site
        if call.module is not None and built is not None and (where.by_container or site is None):
            site = built
        return site, built


def _repeats(call: Call) -> bool:
    """Whether the same tensor stands on both sides (``x * x``)."""
    tensors = list(call.tensors())
    return len(tensors) > 1 and all(value.call == tensors[0].call for value in tensors)


def _contracted(constants: Sequence[Value]) -> int | None:
    """The fan-in of a matrix product with a constant: its last but one axis, for every spelling of ``x @ W``."""
    shape = constants[-1].shape if constants else None
    return None if not shape else shape[-2] if len(shape) > 1 else shape[0]


def _without_unused_constants(nodes: Sequence[Node]) -> list[Node]:
    used = {name for node in nodes for name in node.inputs}
    return [node for node in nodes if node.name in used or not isinstance(node.op, ops.Constant)]
