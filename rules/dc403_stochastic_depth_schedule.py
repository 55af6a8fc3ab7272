"""DC403: stochastic depth that drops early blocks more than late ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dropcheck.encounter import drops_samples, shown
from dropcheck.graph import Graph, Node
from dropcheck.ops import Dropout
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_NET = """\
class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        keep = 1.0 - self.drop_prob
        return x * x.new_empty(x.shape[0], 1).bernoulli_(keep) / keep if self.training else x

class Block(nn.Module):
    def __init__(self, width, drop_prob):
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)
        self.drop_path = DropPath(drop_prob)

    def forward(self, x):
        return x + self.drop_path(F.gelu(self.fc(self.norm(x))))

net = nn.Sequential(*(Block(32, rate) for rate in {}))
"""


class StochasticDepthSchedule(Rule):
    """The drop rates of stochastic depth fall with depth.

    ## Why is this bad
    Early blocks make the features that all later ones work on; late blocks refine them, and can be missed for a step.
    Stochastic depth is therefore stated with rates that grow linearly from 0 at the first block to the highest at the
    last. Turned around, the blocks that matter most are the ones that train least, and every norm of the network stands
    behind the strongest noise.

    ## Use instead
    Let the rates grow linearly with depth: rate × l / (L − 1) for block l = 0 … L − 1 of L.

    ## Near misses
    Constant rates, rates that start again at every stage, rates that rise and then fall (encoder and decoder), two
    branches side by side, fewer than three blocks, a last block that alone is never dropped, and dropout held in
    evaluation mode are left alone. Rates that dropcheck had to guess do not count.

    ## Source
    Huang et al. 2016, "Deep Networks with Stochastic Depth", as told in "Dropout Regularization: Deep Dive".
    """

    code = "DC403"
    name = "stochastic-depth-schedule"
    examples = (
        Example(
            "the highest rate first",
            _NET.format("(0.3, 0.2, 0.1, 0.0)"),
            expect=(
                "17: warning DropPath(0.20) drops less than DropPath(0.30) '0.drop_path' ahead of it: over 4 layers the rates fall from 0.30 to 0.00",
            ),
            input="2x32",
        ),
        Example("growing with depth", _NET.format("(0.0, 0.1, 0.2, 0.3)"), input="2x32"),
        Example(
            "a schedule turned around, functional",
            """\
def stochastic_depth(x, rate, training):
    return DropPath(rate).train(training)(x)

class DropPath(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training:
            return x
        return x * torch.empty(x.shape[0], 1).bernoulli_(1.0 - self.p) / (1.0 - self.p)

class Net(nn.Module):
    def __init__(self, depth=3, rate=0.2):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))
        self.paths = nn.ModuleList(DropPath(rate * (depth - i) / depth) for i in range(depth))

    def forward(self, x):
        for layer, path in zip(self.layers, self.paths):
            x = x + path(torch.tanh(layer(x)))
        return x
""",
            expect=(
                "22: warning DropPath(0.133) drops less than DropPath(0.20) 'paths.0' ahead of it: over 3 layers the rates fall from 0.20 to 0.0667",
            ),
            input="2x16",
        ),
        Example("constant", _NET.format("(0.2, 0.2, 0.2, 0.2)"), input="2x32"),
        Example("starting again at every stage", _NET.format("(0.0, 0.1, 0.2, 0.0, 0.1, 0.2)"), input="2x32"),
        Example("rising and falling", _NET.format("(0.0, 0.1, 0.2, 0.1, 0.0)"), input="2x32"),
        Example("a last block that is always there", _NET.format("(0.1, 0.1, 0.1, 0.0)"), input="2x32"),
        Example("two blocks", _NET.format("(0.2, 0.1)"), input="2x32"),
        Example(
            "held in evaluation mode",
            _NET.format("(0.3, 0.2, 0.1, 0.0)") + "for block in net:\n    block.drop_path.eval()\n",
            input="2x32",
        ),
    )

    layers = 3
    """Two rates are no schedule."""

    def check(self, subject: Subject) -> Iterator[Finding]:
        for chain in _chains(subject.graph):
            if chain.step is None or chain.length < self.layers or subject.is_guessed(_rate(chain.first)):
                continue
            lower, higher = chain.step
            message = (
                f"{_named(lower)} drops less than {_named(higher)} {higher.path!r} ahead of it: over {chain.length} "
                f"layers the rates fall from {_shown_rate(chain.first)} to {_shown_rate(chain.last)}"
            )
            yield self.finding(subject, lower, Severity.WARNING, message)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Layers of stochastic depth one behind the other whose rates never rise.

    ``step``: the first that drops less than the one ahead of it, without dropping nothing at all, and that one.
    """

    first: Node
    last: Node
    length: int
    step: tuple[Node, Node] | None


def _chains(graph: Graph) -> Iterator[_Chain]:
    """Every chain at its full length; of several that begin to fall at the same layer, the first."""
    layers = [node for node in graph.of(Dropout) if node.training and _is_layer(node)]
    ahead = _ahead(graph, {node.name for node in layers}) if len(layers) > 1 else {}
    chains: dict[str, _Chain | None] = {}
    for node in layers:
        before = ahead.get(node.name)
        chains[node.name] = _Chain(node, node, 1, None) if before is None else _longer(chains[before], node)
    followed = set(ahead.values())
    complete = [chain for name, chain in chains.items() if chain is not None and name not in followed]
    yield from {chain.step and chain.step[0].name: chain for chain in reversed(complete)}.values()


def _longer(chain: _Chain | None, node: Node) -> _Chain | None:
    """The chain with one more layer; None once a rate has risen."""
    if chain is None or _rate(node) > _rate(chain.last):
        return None
    falls = 0.0 < _rate(node) < _rate(chain.last)
    step = (node, chain.last) if chain.step is None and falls else chain.step
    return _Chain(chain.first, node, chain.length + 1, step)


def _ahead(graph: Graph, layers: set[str]) -> dict[str, str]:
    """By layer: the one of ``layers`` that was executed last before it and whose result it depends on."""
    order: dict[str, int] = {}
    latest: dict[str, str] = {}
    ahead: dict[str, str] = {}
    for node in graph:
        known = [latest[name] for name in node.inputs if name in latest]
        before = max(known, key=order.__getitem__) if len(known) > 1 else known[0] if known else None
        if node.name in layers:
            if before is not None:
                ahead[node.name] = before
            order[node.name], before = len(order), node.name
        if before is not None:
            latest[node.name] = before
    return ahead


def _is_layer(node: Node) -> bool:
    return isinstance(node.op, Dropout) and drops_samples(node.op)


def _rate(node: Node) -> float:
    return node.op.drop_rate if isinstance(node.op, Dropout) else 0.0


def _named(node: Node) -> str:
    return shown(node.op) if isinstance(node.op, Dropout) else node.path


def _shown_rate(node: Node) -> str:
    return _named(node).partition("(")[2].rstrip(")")
