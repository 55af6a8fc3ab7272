"""DC301: head dropout on the wrong side of the global pool."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.encounter import shown
from dropcheck.graph import WEIGHT_LAYERS, Graph, Node
from dropcheck.ops import Activation, Concat, Dropout, Granularity, Pool, Rearrange, Reduce, Scale
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.shift import gaussian_moments
from dropcheck.shift.closed_forms import head_noise_after_pool, head_noise_before_pool
from dropcheck.shift.priors import pooled_variance

_HEAD = "net = nn.Sequential(nn.ReLU(), {}nn.AdaptiveAvgPool2d(1), nn.Flatten(), {})"


class DropoutAfterGlobalPool(Rule):
    """Head dropout stands after the global average pool instead of ahead of it.

    ## Why is this bad
    Ahead of the pool every position has a mask of its own, and averaging over A positions leaves (q/p) E[x²] / A of
    the noise (q: drop rate, p = 1 − q). After the pool one mask decides about the whole channel and the noise is
    (q/p) E[(mean of x)²]: larger for the non-negative feature maps that ReLU and its like hand to a pool. No batch norm
    is harmed by this; it is a matter of accuracy.

    ## Use instead
    Apply the dropout to the feature map, ahead of the global average pool.

    ## Near misses
    Left alone: a weight layer or a norm between pool and dropout, dropout on the logits, global max-pools, pools over
    one or an unknown number of positions, feature maps that come from no activation, and heads that drop ahead of the
    pool as well. The variances in the message are for positions whose values correlate by 0.5.

    ## Source
    Kim et al. 2023, "How to Use Dropout Correctly on Residual Networks with Batch Normalization", Proposition 5
    (proof: supplement, section B) and guideline 2.
    """

    code = "DC301"
    name = "dropout-after-global-pool"
    examples = (
        Example(
            "a classifier's head",
            """\
net = nn.Sequential(
    nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10),
)
""",
            expect=(
                "3: info Dropout(0.20) after global average pool '3' adds 0.0833 to the variance, ahead of it 0.0026 (49 positions, relu of a unit Gaussian)",
            ),
            input="2x3x7x7",
        ),
        Example(
            "the dropout ahead of the pool",
            """\
net = nn.Sequential(
    nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
    nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
)
""",
            input="2x3x7x7",
        ),
        Example(
            "functional",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(4, 32, 3), nn.Linear(32, 2)

    def forward(self, x):
        x = F.silu(self.conv(x)).mean(-1)
        return self.fc(F.dropout(x, training=self.training))
""",
            expect=(
                "8: info dropout(0.50) after global average pool '/mean' adds 0.2090 to the variance, ahead of it 0.0222 (16 positions, silu of a unit Gaussian)",
            ),
            input="2x4x18",
        ),
        Example("one position", _HEAD.format("", "nn.Dropout(), nn.Linear(8, 2)"), input="2x8x1x1"),
        Example("an unknown number of positions", _HEAD.format("", "nn.Dropout(), nn.Linear(8, 2)")),
        Example("dropout on the logits", _HEAD.format("", "nn.Dropout()"), input="2x8x5x5"),
        Example("held in evaluation mode", _HEAD.format("", "nn.Dropout().eval(), nn.Linear(8, 2)"), input="2x8x5x5"),
        Example("a norm between", _HEAD.format("", "nn.LayerNorm(8), nn.Dropout(), nn.Linear(8, 2)"), input="2x8x5x5"),
        Example("a layer between", _HEAD.format("", "nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 2)"), input="2x8x5x5"),
        Example("twice", _HEAD.format("nn.Dropout(), ", "nn.Dropout(), nn.Linear(8, 2)"), input="2x8x5x5"),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        graph = subject.graph
        for node in graph.head():
            drop = node.op
            if not isinstance(drop, Dropout) or drop.granularity is not Granularity.ELEMENT or not node.drops:
                continue
            pool = _pool_above(graph, node)
            if pool is None or drop.drop_rate == 1.0 or not graph.downstream(node, *WEIGHT_LAYERS):
                continue
            if (variances := _variances(graph, 1.0 - drop.drop_rate, pool)) is not None:
                message = f"{shown(drop)} after global average pool {pool.path!r} {variances}"
                yield self.finding(subject, node, Severity.INFO, message)


def _variances(graph: Graph, keep_prob: float, pool: Node) -> str | None:
    above = list(_elementwise_above(graph, pool))
    activation = next((node.op for node in above if isinstance(node.op, Activation)), None)
    positions = pool.op.window if isinstance(pool.op, Pool) else None
    if activation is None or positions is None or positions == 1 or any(node.drops for node in above):
        return None
    unit = gaussian_moments(activation.kind, slope=activation.slope)
    after = head_noise_after_pool(keep_prob, unit.mean**2 + unit.var * pooled_variance(positions))
    ahead = head_noise_before_pool(keep_prob, [unit.second_moment] * positions)
    given = f"{positions} positions, {activation.kind} of a unit Gaussian"
    return f"adds {after:.4f} to the variance, ahead of it {ahead:.4f} ({given})"


def _elementwise_above(graph: Graph, node: Node) -> Iterator[Node]:
    """What feeds ``node``, upwards, for as long as units only move, scale or go through an activation alone.

    Of several branches side by side, the first stands for all.
    """
    above = graph.producers(node)
    while above and isinstance(above[0].op, Activation | Concat | Dropout | Rearrange | Scale):
        yield above[0]
        above = graph.producers(above[0])


def _pool_above(graph: Graph, node: Node) -> Node | None:
    """The global average pool whose result reaches ``node`` unmixed."""
    match graph.producers([node, *_elementwise_above(graph, node)][-1]):
        case (Node(op=Pool(reduce=Reduce.MEAN, is_global=True)) as pool,):
            return pool
    return None
