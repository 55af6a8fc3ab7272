"""Calls → Graph, through the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from dropcheck import ops
from dropcheck.capture.calls import Call, Value
from dropcheck.capture.catalogue import operation
from dropcheck.capture.masks import Masks, as_dropout, draws_anew
from dropcheck.capture.populations import Draw
from dropcheck.graph import Graph, Node, Site
from dropcheck.ops import Op

_MODELLED_ON = frozenset({"expand_as", "view_as", "reshape_as", "to", "type_as"})
"""Functions that take no more than shape or type from their second argument."""

_READS_ONE = (ops.BatchNorm, ops.LocalNorm, ops.Lookup, ops.Dropout)


def lower(calls: Sequence[Call], built: Mapping[str, Site], classes: Mapping[str, str] | None = None) -> Graph:
    """The graph of a model's calls.

    ``built`` maps module paths to construction sites, ``classes`` to the names of the modules' classes. What does not
    depend on the model's input is folded away, unless it is random; results that only rename their argument take no
    node. An activation times a random mask is a dropout.
    """
    lowering = _Lowering(built)
    for index, call in enumerate(calls):
        lowering.add(index, call)
    nodes = _without_unused_constants(lowering.nodes)
    return Graph(tuple(_layers_named(nodes, lowering.masked, classes or {})))


@dataclass(slots=True)
class _Lowering:
    built: Mapping[str, Site]
    nodes: list[Node] = field(default_factory=list)
    node_of: dict[int, str] = field(default_factory=dict)  # call index → node name
    constants: dict[str, bool] = field(default_factory=dict)  # names of constant nodes → random
    seen: Counter[str] = field(default_factory=Counter)
    masks: Masks = field(default_factory=Masks)
    masked: dict[str, str] = field(default_factory=dict)  # names of dropouts made by hand → path of their module
    noises: dict[str, tuple[str, Draw]] = field(default_factory=dict)  # names of x · noise of mean 0 → x, noise

    def add(self, index: int, call: Call) -> None:
        sources = self._sources(call)
        op = operation(call)
        if op is None and sources:
            self.node_of[index] = sources[0]
            self.masks.rename(index, call)
            return
        meant = _called_by_layer(op, call) or ops.Constant()
        op, inputs = self._resolve(meant, call, sources)
        name, path = self._names(call)
        site, built = self._sites(call)
        random = call.random_in_eval
        if isinstance(op, ops.Constant):
            self.masks.note(index, call, meant)
            op = ops.Constant(op.random and not self.masks.is_uniform(index))
            self.constants[name] = op.random
        elif (made := self._made_by_hand(name, call, inputs)) is not None:
            op, random, inputs = made
            self.masked[name] = call.path
        self.nodes.append(Node(name, path, op, inputs, call.shape, site, built, call.training, random))
        self.node_of[index] = name

    def _made_by_hand(
        self, name: str, call: Call, inputs: tuple[str, ...]
    ) -> tuple[ops.Dropout, bool | None, tuple[str, ...]] | None:
        """The dropout that a call amounts to: x · mask, or x + x · noise; whether it stays random, and its input."""
        if call.module is not None or len(inputs) != 2:
            return None
        x = next((value for value in call.tensors() if self._name(value) == inputs[0]), None)
        found = self.masks.factor(call) if self.constants.get(inputs[1]) else None
        if x is not None and found is not None:
            dropout = as_dropout(x, found)
            if dropout is None:
                self.noises[name] = (inputs[0], found)
            return None if dropout is None else (dropout, found.random_in_eval, inputs[:1])
        if call.target != "add" or len(call.args) != 2 or x is None:
            return None
        for term, other in (inputs, inputs[::-1]):
            if term in self.noises and self.noises[term][0] == other:
                draw = self.noises[term][1]
                dropout = as_dropout(x, replace(draw, population=1.0 + draw.population))
                return None if dropout is None else (dropout, draw.random_in_eval, (other,))
        return None

    def _name(self, value: Value) -> str | None:
        return None if value.call is None else self.node_of[value.call]

    def _resolve(self, op: Op, call: Call, sources: list[str]) -> tuple[Op, tuple[str, ...]]:
        """The operation once it is known which arguments depend on the model's input, and its inputs."""
        depends = [name for name in sources if name not in self.constants]
        random = [name for name in sources if self.constants.get(name)]
        if isinstance(op, ops.Input | ops.Constant):
            return op, ()
        if not depends and draws_anew(call, op):
            # Noise of its own: a mask where it drops ones, and where it drops parameters a source like any other.
            first = next(call.tensors(), None)
            return (ops.Constant(random=True) if first and self.masks.is_uniform(first.call) else op), ()
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
        read = islice(call.tensors(), 1) if call.target in _MODELLED_ON else call.tensors()
        names = [self.node_of[value.call] for value in read if value.call is not None]
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


def _called_by_layer(op: Op | None, call: Call) -> Op | None:
    """A function that a layer of torch calls is that layer, also where the model does not have it registered."""
    if call.module is None and call.where is not None and call.where.by_container:
        match op:
            case ops.Dropout(kind=kind):
                return replace(op, kind="".join(part.capitalize() for part in kind.split("_")))
            case ops.Attention(kind="multi_head_attention_forward"):
                return replace(op, kind="MultiheadAttention")
    return op


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


def _layers_named(nodes: Sequence[Node], masked: Mapping[str, str], classes: Mapping[str, str]) -> list[Node]:
    """Modules whose forward is nothing but a random mask times its input are dropout layers, called by their class.

    Args:
        masked: names of the dropouts made by hand, with the path of the module in whose forward they stand.
    """
    layers = {path for path in masked.values() if path}
    if not layers:
        return list(nodes)
    for node in nodes:
        if node.name not in masked and not isinstance(node.op, ops.Scale | ops.Rearrange | ops.Constant):
            layers -= {path for path in layers if f"{node.path}/".startswith((f"{path}/", f"{path}."))}
    return [_as_layer(node, masked[node.name], classes) if masked.get(node.name) in layers else node for node in nodes]


def _as_layer(node: Node, path: str, classes: Mapping[str, str]) -> Node:
    assert isinstance(node.op, ops.Dropout)
    return replace(node, path=path, op=replace(node.op, kind=classes.get(path, node.op.kind)))
