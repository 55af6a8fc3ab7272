"""DC402: channel dropout on inputs that have their channels elsewhere, or none."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from dropcheck.encounter import shown
from dropcheck.graph import Graph, Node
from dropcheck.ops import BatchNorm, Dropout, LocalNorm, Lookup, Recurrent, Weight
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_HEAD = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(3, 8, 3), nn.Linear(288, 64), nn.Linear(64, 10)
        self.drop = {}

    def forward(self, x):
        x = F.relu(self.conv(x)).flatten(1)
        return self.fc2(self.drop(F.relu(self.fc1(x))))
"""

_AXES = {"dropout1d": 1, "dropout2d": 2, "dropout3d": 3}  # behind the channels
_ALPHA = ("FeatureAlphaDropout", "feature_alpha_dropout")


class ChannelDropoutShape(Rule):
    """Channel dropout gets an input whose number of axes is not the one it is made for.

    ## Why is this bad
    Dropout1d, 2d and 3d drop whole channels of N×C×L, N×C×H×W and N×C×D×H×W. With fewer or more axes PyTorch does
    something else, often without a word. Dropout1d on N×C and Dropout3d on N×C×H×W take the batch for the channels and
    drop whole samples. Dropout2d on N×C drops single values as nn.Dropout does; on N×C×L it drops channels for now, and
    warns that a later version will take the input for one sample C×H×W.

    ## Use instead
    Use nn.Dropout for vectors (N×C), nn.Dropout1d for N×C×L, nn.Dropout2d for N×C×H×W and nn.Dropout3d for N×C×D×H×W.

    ## Near misses
    Single samples (C×L, C×D×H×W) straight from a convolution of the right kind, whole words dropped from an embedding
    with Dropout1d, inputs of unknown shape, a drop rate of 0 and dropout held in evaluation mode are left alone. Whether
    the channels of N×C×L really come second cannot be seen.

    ## Source
    PyTorch 2.13, torch/nn/functional.py: dropout1d, dropout2d, dropout3d and feature_alpha_dropout; what each does with
    1 to 6 axes was tried.
    """

    code = "DC402"
    name = "channel-dropout-shape"
    examples = (
        Example(
            "of a linear layer's output",
            _HEAD.format("nn.Dropout1d(0.5)"),
            expect=(
                "9: warning Dropout1d(0.50) takes its 2-D input for one sample of 2 channels: it drops all 64 values of a sample at once",
            ),
            input="2x3x8x8",
        ),
        Example("single values", _HEAD.format("nn.Dropout(0.5)"), input="2x3x8x8"),
        Example(
            "Dropout2d of a linear layer's output",
            _HEAD.format("nn.Dropout2d(0.5)"),
            expect=(
                "9: warning Dropout2d(0.50) finds no channels in its 2-D input: it drops single values as Dropout does, which later versions of PyTorch will refuse",
            ),
            input="2x3x8x8",
        ),
        Example(
            "under a name of its own",
            "class SpatialDropout(nn.Dropout2d):\n    pass\n\n" + _HEAD.format("SpatialDropout(0.5)"),
            expect=(
                "12: warning SpatialDropout(0.50) finds no channels in its 2-D input: it drops single values as Dropout does, which later versions of PyTorch will refuse",
            ),
            input="2x3x8x8",
        ),
        Example(
            "functional, on a sequence",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3)

    def forward(self, x):
        return F.dropout2d(F.relu(self.conv(x)), 0.1, self.training)
""",
            expect=(
                "7: warning dropout2d(0.10) drops each of the 8 rows of a sample whole, as Dropout1d does: later versions of PyTorch will take this 3-D input for one sample",
            ),
            input="2x4x16",
        ),
        Example(
            "made for volumes, on images",
            "net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout3d(0.2), nn.Conv2d(8, 8, 3))",
            expect=(
                "1: warning Dropout3d(0.20) takes its 4-D input for one sample of 2 channels: it drops all 288 values of a sample at once",
            ),
            input="2x3x8x8",
        ),
        Example(
            "alpha dropout of channels, on vectors",
            "net = nn.Sequential(nn.Linear(8, 8), nn.SELU(), nn.FeatureAlphaDropout(0.1), nn.Linear(8, 8))",
            expect=(
                "1: warning FeatureAlphaDropout(0.10) finds no channels in its 2-D input: it drops single values as AlphaDropout does",
            ),
            input="2x8",
        ),
        Example(
            "each on what it is made for",
            """\
net = nn.Sequential(
    nn.Conv3d(1, 4, 3), nn.Dropout3d(0.1), nn.Flatten(3), nn.Dropout2d(0.1), nn.Flatten(2), nn.Dropout1d(0.1),
    nn.FeatureAlphaDropout(0.1), nn.Flatten(1), nn.Dropout(0.1),
)
""",
            input="2x1x5x5x5",
        ),
        Example(
            "a single sample", "net = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Dropout1d(0.1))", input="4x16"
        ),
        Example("a drop rate of zero", _HEAD.format("nn.Dropout1d(0.0)"), input="2x3x8x8"),
        Example("held in evaluation mode", _HEAD.format("nn.Dropout2d(0.5).eval()"), input="2x3x8x8"),
        Example("an input of unknown shape", "net = nn.Sequential(nn.Linear(8, 8), nn.Dropout1d(0.5))"),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        layers: dict[str, str] | None = None
        for node in subject.graph.of(Dropout):
            happens = _what_happens(node) if node.drops and node.shape is not None else None
            if happens is None or not isinstance(node.op, Dropout):
                continue
            layers = _layers_above(subject.graph) if layers is None else layers
            if not _is_one_sample(node.op.layer, layers[node.name]):
                yield self.finding(subject, node, Severity.WARNING, f"{shown(node.op)} {happens}")


def _what_happens(node: Node) -> str | None:
    """What PyTorch does with an input of this many axes, where that is not dropping the channels of N×C×…"""
    kind, shape = getattr(node.op, "layer", ""), node.shape or ()
    rank, axes = len(shape), _AXES.get(kind.lower())
    if kind in _ALPHA and rank == 2:
        return "finds no channels in its 2-D input: it drops single values as AlphaDropout does"
    if axes is None or rank == axes + 2 or rank < 2:
        return None
    if axes != 2:
        return (
            f"takes its {rank}-D input for one sample of {shape[0]} channels: "
            f"it drops all {prod(shape[1:])} values of a sample at once"
        )
    if rank == 2:
        return (
            "finds no channels in its 2-D input: it drops single values as Dropout does, "
            "which later versions of PyTorch will refuse"
        )
    if rank == 3:
        return (
            f"drops each of the {shape[1]} rows of a sample whole, as Dropout1d does: "
            "later versions of PyTorch will take this 3-D input for one sample"
        )
    return f"drops whole channels of its {rank}-D input, which later versions of PyTorch will refuse"


def _is_one_sample(kind: str, layer: str) -> bool:
    """Whether what stands above is a layer that gives one sample of the kind this dropout then means, or words."""
    return kind[-2:] in ("1d", "3d") and (layer.lower().endswith(kind[-2:]) or layer in ("Embedding", "embedding"))


def _layers_above(graph: Graph) -> dict[str, str]:
    """The kind of the nearest layer that gives each node's values their meaning; empty where there is none."""
    kinds: dict[str, str] = {}
    for node in graph:
        op = node.op
        if isinstance(op, Weight | BatchNorm | Lookup | Recurrent | LocalNorm):
            kinds[node.name] = op.kind
        else:
            kinds[node.name] = kinds[node.inputs[-1]] if node.inputs else ""
    return kinds
