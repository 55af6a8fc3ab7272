"""DC204: dropout of the stream that residual branches are added to."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.branches import branches, drops_units
from dropcheck.graph import Graph
from dropcheck.ops import Activation, Dropout, Rearrange, Scale
from dropcheck.relocation import met_by_dropout, shows
from dropcheck.rule import Example, Finding, Rule, Subject

_BLOCK = """\
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.drop = nn.Dropout2d(0.3)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return {}

net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), Block(32), Block(32), {}nn.Flatten(), nn.Linear(2048, 10))
"""
_ELEMENTWISE = (Activation, Dropout, Rearrange, Scale)
_AFTER = _BLOCK.format("self.drop(F.relu(x + h))", "")


class DropoutOnResidualStream(Rule):
    """Dropout drops the residual stream itself: behind an addition, or on a shortcut.

    ## Why is this bad
    The stream carries the signal of all blocks so far, and what is dropped from it is dropped from all of them. Its
    noise runs through the shortcuts, which average nothing, past every later block: each batch norm that reads the
    stream stores its variance in training and divides by it in evaluation.

    ## Use instead
    Leave the stream alone: put the dropout into the residual branches, behind their last batch norm and ahead of their
    last weight layer, or behind the last batch norm of the whole network.

    ## Near misses
    Silent where no norm with stored statistics sees the noise: behind the last block; before blocks with layer norm, as
    the dropout of embeddings and positions in BERT and ViT; with a drop rate of 0, or held in evaluation mode. Stochastic
    depth is left to DC105. Sums whose terms are alike, several weight layers each, have no shortcut.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    info. Seen from the code alone it is at most a warning.

    ## Source
    Kim et al. 2023, "How to Use Dropout Correctly on Residual Networks with Batch Normalization", guideline 1; He et
    al. 2016, "Identity Mappings in Deep Residual Networks", section 3.1, for dropout on the shortcut.
    """

    code = "DC204"
    name = "dropout-on-residual-stream"
    examples = (
        Example(
            "behind the addition",
            _AFTER,
            expect=(
                "11: warning Dropout2d(0.30) drops the residual stream behind '1/add', and batch norm '2.bn1' sees it: its running variance will be 1.23x what evaluation sees (Δ = 0.81)",
            ),
            input="2x3x8x8",
        ),
        Example(
            "behind the last batch norm",
            _BLOCK.format("F.relu(x + h)", "nn.Dropout2d(0.3), "),
            input="2x3x8x8",
        ),
        Example(
            "on the shortcut",
            _BLOCK.format("F.relu(self.drop(x) + h)", ""),
            expect=(
                "11: info Dropout2d(0.30) drops the residual stream on the shortcut to '1/add', and batch norm '2.bn1' sees it: its running variance will be 1.04x what evaluation sees (Δ = 0.96)",
            ),
            input="2x3x8x8",
        ),
        Example(
            "functional, between blocks of linear layers",
            """\
class ResMLP(nn.Module):
    def __init__(self, width=64, depth=3):
        super().__init__()
        self.stem, self.head = nn.Linear(20, width), nn.Linear(width, 2)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x):
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers):
            x = x + F.relu(layer(norm(x)))
            x = F.dropout(x, p=0.2, training=self.training)
        return self.head(x)

net = ResMLP()
""",
            expect=(
                "12: warning dropout(0.20) drops the residual stream behind '/add', and batch norm 'norms.1' (and 1 more) sees it: its running variance will be 1.28x what evaluation sees (Δ = 0.78)",
                "12: warning dropout(0.20) drops the residual stream behind '/add_1', and batch norm 'norms.2' sees it: its running variance will be 1.34x what evaluation sees (Δ = 0.74)",
            ),
            input="8x20",
        ),
        Example("a drop rate of zero", _AFTER.replace("0.3", "0.0"), input="2x3x8x8"),
        Example(
            "group norm",
            _AFTER.replace("BatchNorm2d(width)", "GroupNorm(8, width)"),
            input="2x3x8x8",
        ),
        Example(
            "embeddings and positions dropped ahead of layer norms",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Linear(16, 32), nn.Parameter(torch.zeros(1, 5, 32))
        self.drop, self.norm = nn.Dropout(0.1), nn.LayerNorm(32)
        self.mlp, self.head = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)), nn.Linear(32, 2)

    def forward(self, x):
        x = self.drop(self.embed(x) + self.position)
        x = self.drop(x + self.mlp(self.norm(x)))
        return self.head(self.norm(x)[:, 0])
""",
            input="2x5x16",
        ),
        Example(
            "no running statistics",
            _AFTER.replace("BatchNorm2d(width)", "BatchNorm2d(width, track_running_stats=False)"),
            input="2x3x8x8",
        ),
        Example(
            "frozen batch norms",
            _AFTER + "for layer in net.modules():\n    if isinstance(layer, nn.BatchNorm2d):\n        layer.eval()\n",
            input="2x3x8x8",
        ),
        Example(
            "held in evaluation mode",
            _AFTER + "for block in net[1:3]:\n    block.drop.eval()\n",
            input="2x3x8x8",
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        places = _on_shortcuts(subject.graph) | _behind_additions(subject.graph)
        met = met_by_dropout(subject) if places else {}
        for name, place in places.items():
            if name in met and shows(met[name].delta):
                here = met[name]
                message = f"{here.noise} drops the residual stream {place}, and {here.target} sees it: {here.harm}"
                severity = subject.severity(here.delta)
                yield self.finding(subject, here.dropout, severity, message, norm=here.norm, delta=here.delta)


def _on_shortcuts(graph: Graph) -> dict[str, str]:
    return {
        node.name: f"on the shortcut to {branch.add.path!r}"
        for branch in branches(graph)
        for node in filter(drops_units, branch.shortcut)
    }


def _behind_additions(graph: Graph) -> dict[str, str]:
    """The dropouts that take a residual sum before anyone else reads it, no more than elementwise work between."""
    found = {}
    for branch in branches(graph):
        readers = graph.successors(branch.add)
        while len(readers) == 1 and isinstance(readers[0].op, _ELEMENTWISE):
            if drops_units(readers[0]):
                found[readers[0].name] = f"behind {branch.add.path!r}"
            readers = graph.successors(readers[0])
    return found
