"""DC103: dropout noise that goes through a max-pool on its way to a batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.encounter import encounters
from dropcheck.graph import Node, Way
from dropcheck.ops import Pool, Reduce
from dropcheck.rule import Example, Finding, Rule, Subject


class DropoutBeforeMaxPool(Rule):
    """Dropout reaches a batch norm through a max-pool.

    ## Why is this bad
    In training the units that dropout keeps are 1/p times too large, and a max-pool picks just those: its output is
    larger in mean and in variance than without dropout, and no longer right on average. A batch norm behind it stores
    both. A weight layer between does not average this away as it does with the noise of a dropout alone.

    ## Use instead
    Put the dropout behind the max-pool, and behind the batch norm that follows it or before its last weight layer;
    where dropout must come first, use an average pool.

    ## Near misses
    Dropout before an average pool, dropout behind the max-pool, a drop rate of 0, and a max-pool with no batch norm
    behind it are left alone by this rule.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    info. Seen from the code alone it is at most a warning.

    ## Source
    Measured for this rule: a Conv-BN-ReLU-Dropout(0.3) stack trained on scikit-learn's digits had Δ = 0.51 at the
    batch norm behind a max-pool and 0.89 at the one without a pool between. Li et al. 2019 do not treat max-pooling.
    """

    code = "DC103"
    name = "dropout-before-max-pool"
    examples = (
        Example(
            "a convolution stack that pools after dropout",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.drop, self.pool = nn.Dropout(0.3), nn.MaxPool2d(2)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64)

    def forward(self, x):
        x = self.drop(F.relu(self.bn1(self.conv1(x))))
        x = self.bn2(self.conv2(self.pool(x)))
        return x.mean((2, 3))
""",
            expect=(
                "9: warning Dropout(0.30) reaches batch norm 'bn2' through max-pool 'pool': its running variance will be 1.87x what evaluation sees (Δ = 0.53)",
            ),
            input="2x3x16x16",
        ),
        Example(
            "the dropout behind the pool and the last batch norm",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.drop, self.pool = nn.Dropout(0.3), nn.MaxPool2d(2)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.drop(self.bn2(self.conv2(x)))
        return x.mean((2, 3))
""",
            input="2x3x16x16",
        ),
        Example(
            "functional, and no weight layer between",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        x = F.dropout2d(F.relu(self.conv(x)), 0.1, self.training)
        return self.bn(F.max_pool2d(x, 2))
""",
            expect=(
                "7: warning dropout2d(0.10) reaches batch norm 'bn' through max-pool '/max_pool2d': its running variance will be 1.16x what evaluation sees (Δ = 0.86)",
            ),
            input="2x1x10x10",
        ),
        Example(
            "a Sequential",
            """\
net = nn.Sequential(
    nn.Conv1d(4, 16, 5), nn.ELU(), nn.Dropout(0.25),
    nn.AdaptiveMaxPool1d(8), nn.Conv1d(16, 16, 3), nn.BatchNorm1d(16),
)
""",
            expect=(
                "2: warning Dropout(0.25) reaches batch norm '5' through max-pool '3': its running variance will be 1.20x what evaluation sees (Δ = 0.83)",
            ),
            input="2x4x64",
        ),
        Example(
            "an average pool instead",
            "net = nn.Sequential(nn.Dropout(0.3), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))",
            input="2x8x8x8",
        ),
        Example("a drop rate of zero", "net = nn.Sequential(nn.Dropout(0.0), nn.MaxPool2d(2), nn.BatchNorm2d(8))"),
        Example("no batch norm behind", "net = nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.3), nn.MaxPool2d(2))"),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        for met in encounters(subject, Way.POOLED):
            pool = next(node for node in subject.graph.route(met.dropout, met.norm) if _is_max_pool(node))
            message = f"{met.noise} reaches {met.target} through max-pool {pool.path!r}: {met.harm}"
            severity = subject.severity(met.delta)
            yield self.finding(subject, met.dropout, severity, message, norm=met.norm, delta=met.delta)


def _is_max_pool(node: Node) -> bool:
    return isinstance(node.op, Pool) and node.op.reduce is Reduce.MAX
