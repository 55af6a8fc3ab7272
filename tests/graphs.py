"""Hand-drawn graphs for tests: names are node names and paths, lines of the site count the nodes from 1.

chain(drop=dropout(0.5), norm=bn())                              x → drop → norm → out
draw(x=node(Input()), a=node(relu(), "x"), sum=node(Add(), "x", "a"))
"""

from __future__ import annotations

from dataclasses import replace

from dropcheck.graph import Graph, Node, Site
from dropcheck.ops import (
    Activation,
    Add,
    BatchNorm,
    Dropout,
    Granularity,
    Input,
    LocalNorm,
    Op,
    Output,
    Pool,
    Rearrange,
    Reduce,
    Weight,
)


def node(op: Op, *inputs: str, shape: tuple[int, ...] | None = None, training: bool = True) -> Node:
    """A node that still needs its name, for :func:`draw`."""
    return Node("", "", op, inputs, shape=shape, training=training)


def draw(**nodes: Node) -> Graph:
    """A graph of named nodes in execution order."""
    return Graph(
        tuple(
            replace(node, name=name, path=name, site=Site("net.py", line, 1, line, 9))
            for line, (name, node) in enumerate(nodes.items(), start=1)
        )
    )


def chain(**ops: Op | Node) -> Graph:
    """Operations one after the other, from the input ``x`` to the output ``out``."""
    nodes = {"x": node(Input())}
    for name, op in (*ops.items(), ("out", Output())):
        link = (list(nodes)[-1],)
        nodes[name] = replace(op, inputs=link) if isinstance(op, Node) else node(op, *link)
    return draw(**nodes)


def dropout(drop_rate: float = 0.5, kind: str = "Dropout", granularity: Granularity = Granularity.ELEMENT) -> Dropout:
    return Dropout(kind, drop_rate, granularity)


def bn(channels: int = 64, tracks: bool = True) -> BatchNorm:
    return BatchNorm("BatchNorm2d", channels, tracks)


def layer_norm() -> LocalNorm:
    return LocalNorm("LayerNorm")


def conv(fan_in: int | None = 576, positions: int = 9) -> Weight:
    return Weight("Conv2d", fan_in, 64, positions)


def linear(fan_in: int | None = 512) -> Weight:
    return Weight("Linear", fan_in, 64)


def relu() -> Activation:
    return Activation("relu")


def flatten() -> Rearrange:
    return Rearrange("flatten")


def max_pool(window: int = 4) -> Pool:
    return Pool(Reduce.MAX, window)


def mean_pool(window: int | None = 4) -> Pool:
    return Pool(Reduce.MEAN, window)


def global_pool(window: int | None = 49) -> Pool:
    return Pool(Reduce.MEAN, window, is_global=True)


def preactivation(*dropouts: str, rate: float = 0.3, norm: Op | None = None) -> Graph:
    """Two pre-activation blocks behind a stem and ahead of a norm, with some of these dropouts in the first:

    stem ┬ dA → bn1 → relu1 → dB → conv1 → dC → bn2 → dD → relu2 → dE → conv2 → dF ┬ add → dG
         └ dS ─────────────────────────────────────────────────────────────────────┘
    """
    ops = {"b": bn() if norm is None else norm, "r": relu(), "c": conv(), "d": dropout(rate)}
    nodes = {"x": node(Input()), "stem": node(conv(), "x")}
    last = "stem"
    for suffix, wanted in (("", dropouts), ("_2", ())):
        start = last
        for name in ["dA", "bn1", "relu1", "dB", "conv1", "dC", "bn2", "dD", "relu2", "dE", "conv2", "dF"]:
            if name in wanted or not name.startswith("d"):
                nodes[name + suffix], last = node(ops[name[0]], last), name + suffix
        if "dS" in wanted:
            nodes["dS"], start = node(ops["d"], start), "dS"
        nodes[f"add{suffix}"], last = node(Add(), start, last), f"add{suffix}"
        if "dG" in wanted:
            nodes["dG"], last = node(ops["d"], last), "dG"
    return draw(**nodes, end=node(ops["b"], last), out=node(Output(), "end"))
