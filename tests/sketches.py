"""Graphs drawn by hand, and the shifts predicted on them."""

from __future__ import annotations

from dropcheck import ops
from dropcheck.graph import Graph, Node
from dropcheck.ops import Granularity, Op, Reduce
from dropcheck.shift import NormShift, predict

INPUT = ops.Input()
NORM = ops.BatchNorm("BatchNorm2d", 64)
RELU = ops.Activation("relu")
GELU = ops.Activation("gelu")
SILU = ops.Activation("silu")
TANH, SELU, ELU = ops.Activation("tanh"), ops.Activation("selu"), ops.Activation("elu")
LAYER_NORM = ops.LocalNorm("LayerNorm")
ADD = ops.Add()
OPAQUE = ops.Opaque("mystery")


def drop(rate: float, granularity: Granularity = Granularity.ELEMENT, *, alpha: bool = False) -> ops.Dropout:
    return ops.Dropout("Dropout", rate, granularity, alpha)


def conv(channels: int, kernel: int = 9) -> ops.Weight:
    return ops.Weight("Conv2d", channels * kernel, channels, kernel)


def linear(width: int) -> ops.Weight:
    return ops.Weight("Linear", width, width)


def pool(reduce: Reduce, window: int | None = 4, *, everywhere: bool = False) -> ops.Pool:
    return ops.Pool(reduce, window, everywhere)


class Sketch:
    """A graph drawn node by node; nodes are called by their kind and a running number."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.last = self.add(INPUT)

    def add(
        self, op: Op, *inputs: str, shape: tuple[int, ...] | None = None, training: bool = True, name: str = ""
    ) -> str:
        """Add a node that reads ``inputs``, or else the last node added; returns its name."""
        name = name or f"{type(op).__name__.lower()}{len(self.nodes)}"
        reads = inputs or ((self.last,) if self.nodes else ())
        self.nodes.append(Node(name, name, op, reads, shape, training=training))
        self.last = name
        return name

    def stack(self, *stacked: Op) -> Sketch:
        for op in stacked:
            self.add(op)
        return self

    def norms(self) -> list[NormShift]:
        return list(predict(Graph(tuple(self.nodes))).norms.values())


def last(*stacked: Op) -> NormShift:
    """The last norm of a plain stack."""
    return Sketch().stack(*stacked).norms()[-1]


def delta(*stacked: Op) -> float:
    found = last(*stacked).delta
    assert found is not None
    return found
