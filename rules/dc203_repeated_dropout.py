"""DC203: dropout of what has been dropped already."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.branches import Branch, branches, drops_units
from dropcheck.encounter import Encounter, shown
from dropcheck.graph import Graph, Node
from dropcheck.ops import Activation, Dropout, Rearrange
from dropcheck.relocation import met_by_dropout, shows
from dropcheck.rule import Example, Finding, Rule, Severity, Subject, ratio
from dropcheck.shift.closed_forms import repeated_keep_prob

_BLOCK = """\
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.drop1, self.drop2 = nn.Dropout({0}), nn.Dropout({1})

    def forward(self, x):
        h = self.conv1(self.drop1(F.relu(self.bn1(x))))
        h = self.conv2(self.drop2(F.relu(self.bn2(h))))
        return x + h

net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), Block(64), nn.BatchNorm2d(64))
"""
_TWO = _BLOCK.format(0.3, 0.3)


class RepeatedDropout(Rule):
    """Two dropouts do the work of one: nothing but ReLU stands between them, or one residual branch holds both.

    ## Why is this bad
    Dropout commutes with ReLU and with everything else for which f(ax) = a f(x): two dropouts with only such work
    between them are one dropout of keep probability p₁p₂. Nothing is gained, and more is dropped than either of them
    says. In one residual branch with batch norm, two dropouts shift more variance than one in the right place; the
    accuracy of Kim et al.'s PreResNets was worse for it.

    ## Use instead
    Keep one dropout, with the drop rate that is meant; in a residual branch the one between its last batch norm and its
    last weight layer.

    ## Near misses
    Left alone: two dropouts with a weight layer, a norm, a pool or an activation such as GELU or tanh between them,
    unless they share a residual branch in which the noise of both meets a batch norm; stochastic depth after dropout,
    which drops something else; dropout of units after dropout of channels; AlphaDropout, which shifts what it drops; a
    drop rate of 0, and dropouts held in evaluation mode. A transformer's block, with dropout of attention weights, after
    its projections and between the layers of its MLP, has no batch norm to harm.

    ## Options
    `thresholds.warning`: the shift ratio from which several dropouts in one branch are a warning, below it is info. Two
    dropouts with nothing between them are always a warning.

    ## Source
    Kim et al. 2023, "How to Use Dropout Correctly on Residual Networks with Batch Normalization", Proposition 1 and
    supplement, section G.
    """

    code = "DC203"
    name = "repeated-dropout"
    examples = (
        Example(
            "before and after the activation",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 512), nn.Linear(512, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.dropout(self.fc1(x))
        x = self.dropout(F.relu(x))
        return self.fc2(x)
""",
            expect=(
                "9: warning Dropout(0.50) drops again what Dropout(0.50) 'dropout' dropped, with only relu between: together one dropout of keep probability 0.25, drop rate 0.75",
            ),
            input="2x784",
        ),
        Example(
            "once",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 512), nn.Linear(512, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.dropout(F.relu(self.fc1(x)))
        return self.fc2(x)
""",
            input="2x784",
        ),
        Example(
            "a block that ends in dropout, in a block that drops again",
            """\
class FeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), nn.Dropout(0.1))

    def forward(self, x):
        return self.net(x)

class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(dim), FeedForward(dim)

    def forward(self, x):
        return x + F.dropout(self.mlp(self.norm(x)), 0.2, self.training)

net = nn.Sequential(Layer(32), Layer(32))
""",
            expect=(
                "15: warning dropout(0.20) drops again what Dropout(0.10) '0.mlp.net.3' dropped, with nothing between: together one dropout of keep probability 0.72, drop rate 0.28",
                "15: warning dropout(0.20) drops again what Dropout(0.10) '1.mlp.net.3' dropped, with nothing between: together one dropout of keep probability 0.72, drop rate 0.28",
            ),
            input="2x5x32",
        ),
        Example(
            "two in one residual branch",
            _TWO,
            expect=(
                "10: warning Dropout(0.30) shares a residual branch with '1.drop1' (worst Δ = 0.93, of '1.drop1' at '1.bn2'); one is enough, ahead of its last weight layer '1.conv2'",
            ),
            input="2x3x8x8",
        ),
        Example(
            "one layer twice in a residual branch",
            _TWO.replace("self.drop2(", "self.drop1("),
            expect=(
                "10: warning Dropout(0.30) drops again in one residual branch (worst Δ = 0.93, of '1.drop1' at '1.bn2'); one is enough, ahead of its last weight layer '1.conv2'",
            ),
            input="2x3x8x8",
        ),
        Example("one of them switched off", _BLOCK.format(0.0, 0.3), input="2x3x8x8"),
        Example(
            "one of them held in evaluation mode",
            _TWO + "net[1].drop1.eval()\n",
            input="2x3x8x8",
        ),
        Example(
            "group norm",
            _TWO.replace("BatchNorm2d(width)", "GroupNorm(8, width)").replace("BatchNorm2d(64)", "GroupNorm(8, 64)"),
            input="2x3x8x8",
        ),
        Example(
            "frozen batch norms",
            _TWO + "for layer in net.modules():\n    if isinstance(layer, nn.BatchNorm2d):\n        layer.eval()\n",
            input="2x3x8x8",
        ),
        Example(
            "a transformer's MLP, and stochastic depth",
            """\
class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        keep = 1.0 - self.drop_prob
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(keep) / keep if self.training else x

class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.drop, self.drop_path = nn.Dropout(0.1), DropPath(0.1)

    def forward(self, x):
        h = self.drop(F.gelu(self.fc1(self.norm(x))))
        return x + self.drop_path(self.drop(self.fc2(h)))

net = nn.Sequential(Block(32), Block(32))
""",
            input="2x5x32",
        ),
        Example(
            "a smooth activation between", "net = nn.Sequential(nn.Dropout(), nn.Tanh(), nn.Dropout())", input="4x8"
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        again: set[str] = set()
        for node in filter(drops_units, subject.graph.of(Dropout)):
            earlier, between = _dropped_before(subject.graph, node)
            if earlier:
                again.add(node.name)
                yield self.finding(subject, node, Severity.WARNING, _repetition(node, earlier, between))
        several = [branch for branch in branches(subject.graph) if len(branch.dropouts) > 1]
        met = met_by_dropout(subject) if several else {}
        for branch in several:
            harmful = [met[node.name] for node in branch.dropouts if node.name in met and node.name not in again]
            if len(harmful) > 1 and any(shows(one.delta) for one in harmful):
                yield self._shared(subject, branch, harmful)

    def _shared(self, subject: Subject, branch: Branch, met: list[Encounter]) -> Finding:
        """Several dropouts in one branch, told at the last."""
        *others, last = met
        worst = max(met, key=lambda one: ratio(one.delta))
        severity = min(subject.severity(worst.delta), Severity.WARNING, key=lambda one: one.rank)
        paths = dict.fromkeys(repr(one.dropout.path) for one in others if one.dropout.path != last.dropout.path)
        shares = f"shares a residual branch with {', '.join(paths)}" if paths else "drops again in one residual branch"
        message = f"{last.noise} {shares} (worst Δ = {worst.delta:.2f}, of {worst.dropout.path!r} at {worst.norm.path!r}){_keep(branch)}"
        return self.finding(subject, last.dropout, severity, message, norm=worst.norm, delta=worst.delta)


def _keep(branch: Branch) -> str:
    return (
        ""
        if branch.last_layer is None
        else f"; one is enough, ahead of its last weight layer {branch.last_layer.path!r}"
    )


def _repetition(node: Node, earlier: list[Node], between: list[str]) -> str:
    drops = [each.op for each in (*earlier, node) if isinstance(each.op, Dropout)]
    keep_prob = repeated_keep_prob(*(1.0 - drop.drop_rate for drop in drops))
    work = f"only {' and '.join(dict.fromkeys(between))}" if between else "nothing"
    return (
        f"{shown(drops[-1])} drops again what {shown(drops[-2])} {earlier[-1].path!r} dropped, with {work} between: "
        f"together one dropout of keep probability {keep_prob:.3g}, drop rate {1.0 - keep_prob:.3g}"
    )


def _dropped_before(graph: Graph, node: Node) -> tuple[list[Node], list[str]]:
    """The dropouts that ``node`` repeats, in execution order, and the kinds of activations since the last of them."""
    earlier: list[Node] = []
    between: list[str] = []
    above = node
    while len(above.inputs) == 1 and _commutes(above := graph[above.inputs[0]], node):
        if drops_units(above):
            earlier.insert(0, above)
        elif isinstance(above.op, Activation) and not earlier:
            between.insert(0, above.op.kind)
    return earlier, between


def _commutes(node: Node, dropout: Node) -> bool:
    """Whether ``dropout`` could as well stand ahead of ``node``."""
    drop, other = node.op, dropout.op
    if isinstance(drop, Activation):
        return drop.homogeneous
    if isinstance(drop, Dropout) and isinstance(other, Dropout):
        alike = drop.granularity is other.granularity and not drop.alpha and not other.alpha
        return not node.drops or (alike and drops_units(node))
    return isinstance(drop, Rearrange)
