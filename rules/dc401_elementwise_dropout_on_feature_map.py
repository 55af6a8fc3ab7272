"""DC401: dropout of single values where neighbours say the same."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from dropcheck.encounter import shown
from dropcheck.graph import Graph, Node
from dropcheck.ops import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Dropout,
    Granularity,
    LocalNorm,
    Multiply,
    Pool,
    Resample,
    Scale,
    Weight,
)
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 10, 3, padding=1)
        self.drop = {}

    def forward(self, x):
        x = self.drop(F.relu(self.conv1(x)))
        return self.conv2(x).mean((2, 3))
"""

_MAKING = frozenset({BatchNorm, Pool, Resample})
_ELEMENTWISE = frozenset({Activation, Dropout, Scale, Add, Multiply, Concat, LocalNorm})


class ElementwiseDropoutOnFeatureMap(Rule):
    """Dropout zeroes single values of a feature map.

    ## Why is this bad
    Neighbouring positions of a channel carry much the same information. A value that is dropped can be read off those
    around it, so little is taken from the network: the dropout regularises less than its rate suggests. This is advice,
    not a fault, and off by default.

    ## Use instead
    Drop whole channels with nn.Dropout2d (nn.Dropout3d for volumes), or contiguous regions with DropBlock.

    ## Near misses
    Dropout of channels or blocks, right ahead of a global pool (where Kim et al. 2023 put the head's dropout), on maps of
    a single position (squeeze-and-excitation), on vectors and on attention weights is left alone, and so is dropout held
    in evaluation mode.

    ## Source
    "Dropout Regularization: Deep Dive", section on DropBlock (Ghiasi et al. 2018).
    """

    code = "DC401"
    name = "elementwise-dropout-on-feature-map"
    on_by_default = False
    examples = (
        Example(
            "between two convolutions",
            _NET.format("nn.Dropout(0.2)"),
            expect=(
                "8: info Dropout(0.20) drops single values of a 32×16×16 feature map, whose neighbours carry much the same",
            ),
            input="2x3x16x16",
        ),
        Example("whole channels instead", _NET.format("nn.Dropout2d(0.2)"), input="2x3x16x16"),
        Example(
            "functional, behind a batch norm and a pool",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Linear(72, 10)

    def forward(self, x):
        x = F.dropout(F.max_pool2d(self.bn(self.conv(x)), 2), 0.1, self.training)
        return self.fc(x.flatten(1))
""",
            expect=(
                "7: info dropout(0.10) drops single values of a 8×3×3 feature map, whose neighbours carry much the same",
            ),
            input="2x1x8x8",
        ),
        Example(
            "a volume, ahead of the first convolution",
            "net = nn.Sequential(nn.Dropout(0.1), nn.Conv3d(1, 4, 3), nn.Flatten())",
            expect=(
                "1: info Dropout(0.10) drops single values of a 1×6×6×6 feature map, whose neighbours carry much the same",
            ),
            input="2x1x6x6x6",
        ),
        Example(
            "one position",
            "net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.Dropout(0.2), nn.Flatten())",
            input="2x16x8x8",
        ),
        Example(
            "ahead of the global pool",
            "net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten())",
            input="2x3x8x8",
        ),
        Example(
            "attention weights",
            """\
class Net(nn.Module):
    def forward(self, x):
        weights = F.dropout((x @ x.transpose(-2, -1)).softmax(-1), 0.1, self.training)
        return weights @ x
""",
            input="2x4x10x8",
        ),
        Example("a drop rate of zero", _NET.format("nn.Dropout(0.0)"), input="2x3x16x16"),
        Example("held in evaluation mode", _NET.format("nn.Dropout(0.2).eval()"), input="2x3x16x16"),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        graph = subject.graph
        found = [node for node in graph.of(Dropout) if _drops_single_values_of_many(node)]
        maps = _feature_maps(graph) if found else set()
        for node in found:
            readers = graph.successors(node)
            if any(isinstance(reader.op, Pool) and reader.op.is_global for reader in readers):
                continue
            if node.inputs[0] in maps or any(_is_convolution(reader) for reader in readers):
                size = "×".join(map(str, (node.shape or ())[1:]))
                message = (
                    f"{_named(node)} drops single values of a {size} feature map, whose neighbours carry much the same"
                )
                yield self.finding(subject, node, Severity.INFO, message)


def _drops_single_values_of_many(node: Node) -> bool:
    by_element = isinstance(node.op, Dropout) and node.op.granularity is Granularity.ELEMENT
    return by_element and node.drops and node.shape is not None and len(node.shape) >= 4 and prod(node.shape[2:]) > 1


def _named(node: Node) -> str:
    return shown(node.op) if isinstance(node.op, Dropout) else node.path


def _is_convolution(node: Node) -> bool:
    return isinstance(node.op, Weight) and "conv" in node.op.kind.lower()


def _feature_maps(graph: Graph) -> set[str]:
    """The nodes whose results are known to be channels of positions: made by a layer that needs them to be."""
    maps: set[str] = set()
    for node in graph:
        kind = type(node.op)
        if kind is Weight:
            is_map = _is_convolution(node)
        else:
            is_map = kind in _MAKING or (kind in _ELEMENTWISE and any(name in maps for name in node.inputs))
        if is_map:
            maps.add(node.name)
    return maps
