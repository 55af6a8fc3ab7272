"""DC404: alpha dropout where there is no SELU, plain dropout where there is."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.encounter import shown
from dropcheck.graph import NORMS, WEIGHT_LAYERS, Graph, Node
from dropcheck.ops import Activation, Dropout, Granularity, Opaque, Pool, Rearrange, Reduce, Scale
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.shift.pointwise import SELU_ALPHA, SELU_SCALE

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.drop = {}

    def forward(self, x):
        x = self.drop({}(self.fc1(x)))
        return self.fc3({}(self.fc2(x)))
"""

_OTHERS = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "rrelu",
        "gelu",
        "silu",
        "mish",
        "tanh",
        "sigmoid",
        "elu",
        "celu",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "softplus",
        "softsign",
        "glu",
    }
)
_SELU, _UNKNOWN, _NORM = "selu", "?", "norm"
_LIMIT = f"it sets units to SELU's lower limit of {-SELU_SCALE * SELU_ALPHA:.2f}"
_NONE: frozenset[str] = frozenset()


class AlphaDropoutWithoutSelu(Rule):
    """Alpha dropout stands away from SELU, or plain dropout right behind it.

    ## Why is this bad
    A network of SELU units keeps its activations near mean 0 and variance 1 by itself. Alpha dropout belongs to it: it
    sets units not to 0 but to SELU's lower limit, −1.76, and scales so that mean 0 and variance 1 stay what they are.
    Behind any other activation that limit means nothing and the units are shifted and scaled for no reason; plain dropout
    behind SELU moves the variance, and the layers that follow no longer normalise themselves.

    ## Use instead
    Use nn.AlphaDropout behind nn.SELU (nn.FeatureAlphaDropout for whole channels), and nn.Dropout behind all other
    activations.

    ## Near misses
    Alpha dropout of the inputs, or behind a weight layer, of a SELU network; activations written out by hand (which may
    be SELU); plain dropout with a norm between it and the next activation; stochastic depth; a drop rate of 0 and
    dropout held in evaluation mode are left alone.

    ## Source
    Klambauer et al. 2017, "Self-Normalizing Neural Networks", section "new dropout technique".
    """

    code = "DC404"
    name = "alpha-dropout-without-selu"
    examples = (
        Example(
            "alpha dropout behind ReLU",
            _NET.format("nn.AlphaDropout(0.2)", "F.relu", "F.relu"),
            expect=("8: warning AlphaDropout(0.20) follows relu: it sets units to SELU's lower limit of -1.76",),
            input="2x64",
        ),
        Example("alpha dropout behind SELU", _NET.format("nn.AlphaDropout(0.2)", "F.selu", "F.selu"), input="2x64"),
        Example(
            "plain dropout behind SELU",
            _NET.format("nn.Dropout(0.2)", "F.selu", "F.selu"),
            expect=(
                "8: warning Dropout(0.20) right behind SELU '/selu' does not keep the mean 0 and variance 1 that SELU brings about",
            ),
            input="2x64",
        ),
        Example(
            "functional, behind a norm, in a network of GELU",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 4)

    def forward(self, x):
        x = self.norm(F.gelu(self.fc1(x)))
        return self.fc2(F.alpha_dropout(x, 0.1, self.training))
""",
            expect=(
                "8: warning alpha_dropout(0.10) is part of no SELU network (nearest activation: gelu): it sets units to SELU's lower limit of -1.76",
            ),
            input="2x32",
        ),
        Example(
            "channels, behind a max-pool",
            """\
net = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.SELU(), nn.MaxPool2d(2), nn.Dropout2d(0.1), nn.Conv2d(8, 8, 3), nn.SELU(), nn.Flatten(),
)
""",
            expect=(
                "2: warning Dropout2d(0.10) right behind SELU '1' does not keep the mean 0 and variance 1 that SELU brings about",
            ),
            input="2x1x16x16",
        ),
        Example(
            "of the inputs, and behind a layer",
            """\
net = nn.Sequential(
    nn.AlphaDropout(0.05), nn.Linear(8, 8), nn.SELU(), nn.Linear(8, 8), nn.AlphaDropout(0.1), nn.Linear(8, 2),
)
""",
            input="2x8",
        ),
        Example(
            "SELU by hand",
            _NET.format("nn.AlphaDropout(0.2)", "(lambda h: 1.0507 * F.elu(h, 1.6733))", "torch.relu"),
            input="2x64",
        ),
        Example(
            "a norm behind the dropout",
            _NET.format("nn.Dropout(0.2)", "F.selu", "F.selu").replace(
                "self.fc2(x)", "F.layer_norm(self.fc2(x), (64,))"
            ),
            input="2x64",
        ),
        Example("a drop rate of zero", _NET.format("nn.AlphaDropout(0.0)", "F.relu", "F.relu"), input="2x64"),
        Example(
            "held in evaluation mode", _NET.format("nn.AlphaDropout(0.2).eval()", "F.relu", "F.relu"), input="2x64"
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        graph = subject.graph
        dropouts = [node for node in graph.of(Dropout) if node.drops]
        has_selu = any(isinstance(node.op, Activation) and node.op.kind == _SELU for node in graph.of(Activation))
        if not has_selu and not any(_is_alpha(node) for node in dropouts):
            return
        nearby = _Nearby(graph)
        for node in dropouts:
            fact = nearby.misplaced_alpha(node) if _is_alpha(node) else nearby.misplaced_plain(node)
            if fact is not None and isinstance(node.op, Dropout):
                yield self.finding(subject, node, Severity.WARNING, f"{shown(node.op)} {fact}")


class _Nearby:
    """The activations around each node, by kind.

    ``direct``: those its values come from with no weight layer or norm between; ``above`` and ``below``: the nearest on
    any path, what may be one counting as unknown; ``below`` says as well where norms are met first.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.direct: dict[str, frozenset[str]] = {}
        self.above: dict[str, frozenset[str]] = {}
        self.below: dict[str, frozenset[str]] = {}
        for node in graph:
            direct, above = _union(self.direct, node.inputs), _union(self.above, node.inputs)
            self.direct[node.name], self.above[node.name] = _behind(node, direct, above)
        for node in reversed(graph.nodes):
            readers = graph.successors(node)
            self.below[node.name] = _NONE.union(*(_entering(one, self.below[one.name]) for one in readers))

    def misplaced_alpha(self, node: Node) -> str | None:
        direct = _union(self.direct, node.inputs)
        if direct and direct <= _OTHERS:
            return f"follows {_listed(direct)}: {_LIMIT}"
        around = _union(self.above, node.inputs) | self.below[node.name] - {_NORM}
        if direct or not around <= _OTHERS:
            return None
        nearest = f"nearest activation: {_listed(around)}" if around else "it has no activation"
        return f"is part of no SELU network ({nearest}): {_LIMIT}"

    def misplaced_plain(self, node: Node) -> str | None:
        if not isinstance(node.op, Dropout) or node.op.granularity not in (Granularity.ELEMENT, Granularity.CHANNEL):
            return None
        above = self.graph.producers(node)
        while len(above) == 1 and _selects(above[0]):
            above = self.graph.producers(above[0])
        if len(above) != 1 or not isinstance(above[0].op, Activation) or above[0].op.kind != _SELU:
            return None
        if _NORM in self.below[node.name]:
            return None
        return f"right behind SELU {above[0].path!r} does not keep the mean 0 and variance 1 that SELU brings about"


def _behind(node: Node, direct: frozenset[str], above: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    op = node.op
    if isinstance(op, Activation | Opaque):
        kind = frozenset({op.kind if isinstance(op, Activation) and op.kind in _OTHERS | {_SELU} else _UNKNOWN})
        return kind, kind
    if isinstance(op, (*WEIGHT_LAYERS, *NORMS)):
        return _NONE, above
    if isinstance(op, Scale) and direct & {"elu", "celu"}:  # scaled by 1.05, with α = 1.67, this is SELU
        return frozenset({_UNKNOWN}), frozenset({_UNKNOWN})
    return direct, above


def _entering(node: Node, below: frozenset[str]) -> frozenset[str]:
    """What is met from an input of ``node`` onwards, given what is met behind it."""
    op = node.op
    if isinstance(op, Activation | Opaque):
        return _behind(node, _NONE, _NONE)[0]
    return below | {_NORM} if isinstance(op, NORMS) else below


def _union(sets: dict[str, frozenset[str]], names: tuple[str, ...]) -> frozenset[str]:
    return sets[names[0]] if len(names) == 1 else _NONE.union(*(sets[name] for name in names))


def _is_alpha(node: Node) -> bool:
    return isinstance(node.op, Dropout) and node.op.alpha


def _selects(node: Node) -> bool:
    """Whether its values are some of those it reads."""
    return isinstance(node.op, Rearrange) or (isinstance(node.op, Pool) and node.op.reduce is Reduce.MAX)


def _listed(kinds: frozenset[str]) -> str:
    return ", ".join(sorted(kinds))
