"""Inputs of graph networks: some nodes, edges between them, and what belongs to each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from dropcheck.load.tensors import tensor
from dropcheck.source import InputSpec

NODES, EDGES, GRAPHS = 16, 32, 2
_FEATURES = 8
"""Features of an edge about which nothing is known; what fails then tells how many are wanted."""

_MOST = 4
"""Widths of nodes that are tried."""

_LINKS = re.compile(r"(\w+_)?edge_(index|idx|list|label_index)|edges")
_EDGE_FEATURES = re.compile(r"edge_?(attr(ibute)?s?|features?|feats?|emb(edding)?s?)|efeats?")
_EDGE_WIDTH = re.compile(r"(num_)?edge_?(attr_?|in_?|input_?|feature_?|feat_?)?(dims?|channels|features|size)")
_COUNT = re.compile(r"(num|n)_(nodes|vertices)")

Shape = Callable[[int], Tensor | int]
_BY_NAME: Sequence[tuple[re.Pattern[str], Shape]] = (
    (_LINKS, lambda nodes: tensor(InputSpec((2, EDGES), "int64"), nodes)),
    (re.compile(r"batch(_?(index|idx|vec(tor)?))?|graph_ids?"), lambda nodes: torch.arange(nodes) * GRAPHS // nodes),
    (re.compile(r"edge_?(weights?|norm|dist(ance)?s?|lengths?)"), lambda nodes: torch.ones(EDGES)),
    (re.compile(r"edge_?types?|etypes?|rel(ation)?s?"), lambda nodes: torch.zeros(EDGES, dtype=torch.int64)),
    (re.compile(r"pos|coords?|positions?|xyz"), lambda nodes: tensor(InputSpec((nodes, 3)))),
    (_COUNT, lambda nodes: nodes),
    (re.compile(r"(num|n)_graphs|batch_size"), lambda nodes: GRAPHS),
)


def is_graph(names: Iterable[str]) -> bool:
    """Whether inputs of these names are those of a graph network: one lists edges."""
    return any(map(_LINKS.fullmatch, names))


def graphs(
    layers: Mapping[str, InputSpec | None], widths: Iterable[InputSpec], hints: Mapping[str, Any], limit: int
) -> Iterator[dict[str, Any]]:
    """Values for the inputs of a graph network by name, which agree about how many nodes and edges there are.

    ``layers``: the names, each with what the layer behind it takes where that is known; ``widths``: what the first
    layers take, for nodes about which nothing is known; ``limit``: one more than the largest id of a node's kind.
    """
    counted = (value for name, value in hints.items() if _COUNT.fullmatch(name) and type(value) is int)
    nodes = next((value for value in counted if 1 < value <= 4096), NODES)
    edge = next((value for name, value in hints.items() if _EDGE_WIDTH.fullmatch(name) and type(value) is int), 0)
    for width in islice((one for one in widths if len(one.shape) <= 2), _MOST):
        yield {name: _value(name, layer, width, nodes, edge or _FEATURES, limit) for name, layer in layers.items()}


def _value(name: str, layer: InputSpec | None, width: InputSpec, nodes: int, edge: int, limit: int) -> Tensor | int:
    for pattern, made in _BY_NAME:
        if pattern.fullmatch(name):
            return made(nodes)
    if _EDGE_FEATURES.fullmatch(name):
        return tensor(_rows(layer or InputSpec((EDGES, edge)), EDGES), limit)
    return tensor(_rows(layer or width, nodes), limit)


def _rows(spec: InputSpec, count: int) -> InputSpec:
    """As many rows of features, or as many ids."""
    return replace(spec, shape=(count,) if spec.dtype == "int64" else (count, spec.shape[-1]))
