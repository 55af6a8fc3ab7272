"""DC110: a drop rate that no width makes up for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from dropcheck.encounter import drops_samples, shown
from dropcheck.ops import Dropout
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.shift.closed_forms import bernoulli_noise


class HighDropRate(Rule):
    """A drop rate of 0.5 or more with a batch norm downstream.

    ## Why is this bad
    The noise that dropout adds is q/p times the mean square of its input (q: drop rate, p = 1 − q): as strong as the
    signal at q = 0.5, more than twice as strong at 0.7. A wide layer averages weak noise away ahead of its batch norm;
    noise this strong shifted every network that Li et al. measured, Wide ResNet included.

    ## Use instead
    Lower the drop rate below 0.5, further where the layers behind it are narrow, or move the dropout behind the last
    batch norm.

    ## Near misses
    Rates below 0.5, a dropout behind the last batch norm, a layer norm on every way to the batch norm, a dropout or a
    batch norm held in evaluation mode, and stochastic depth are left alone.

    ## Source
    Li et al. 2019, section 6, first guideline, with Eq. 12, Table 2 and Fig. 4.
    """

    code = "DC110"
    name = "high-drop-rate"
    examples = (
        Example(
            "half of the units, a linear layer before the batch norm",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.fc1, self.bn, self.fc2 = nn.Linear(784, 4096), nn.BatchNorm1d(4096), nn.Linear(4096, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.bn(self.fc1(self.drop(x)))))
""",
            expect=(
                "8: warning Dropout(0.50) adds noise of 1.00x its input's mean square upstream of batch norm 'bn' (guideline: a drop rate below 0.5)",
            ),
            input="2x784",
        ),
        Example(
            "a fifth of the units",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.fc1, self.bn, self.fc2 = nn.Linear(784, 4096), nn.BatchNorm1d(4096), nn.Linear(4096, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.bn(self.fc1(self.drop(x)))))
""",
            input="2x784",
        ),
        Example(
            "functional, several batch norms behind it",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(64)

    def forward(self, x):
        x = F.dropout2d(F.relu(self.bn1(self.conv1(x))), 0.7, self.training)
        return self.bn2(self.conv2(x))
""",
            expect=(
                "8: warning dropout2d(0.70) adds noise of 2.33x its input's mean square upstream of batch norm 'bn2' (guideline: a drop rate below 0.5)",
            ),
            input="2x3x8x8",
        ),
        Example(
            "all of the units, in a Sequential",
            "net = nn.Sequential(nn.Dropout(p=1.0), nn.Linear(8, 8), nn.BatchNorm1d(8))",
            expect=(
                "1: warning Dropout(1.00) zeroes everything in training upstream of batch norm '2' (guideline: a drop rate below 0.5)",
            ),
            input="4x8",
        ),
        Example(
            "behind the last batch norm",
            "net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))",
            input="4x8",
        ),
        Example(
            "layer norm between",
            "net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8), nn.LayerNorm(8), nn.BatchNorm1d(8))",
            input="4x8",
        ),
        Example("dropout held in evaluation mode", "net = nn.Sequential(nn.Dropout(0.5).eval(), nn.BatchNorm1d(8))"),
        Example("frozen batch norm", "net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8), nn.BatchNorm1d(8).eval())"),
    )

    limit = 0.5  # Li et al. 2019, section 6, first guideline

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in subject.graph.of(Dropout):
            drop = node.op
            if not isinstance(drop, Dropout) or not node.drops or drop.drop_rate < self.limit or drops_samples(drop):
                continue
            if (norm := subject.graph.first_norm(node)) is not None:
                message = (
                    f"{shown(drop)} {_effect(drop.drop_rate)} upstream of batch norm {norm.path!r} "
                    f"(guideline: a drop rate below {self.limit})"
                )
                yield self.finding(subject, node, Severity.WARNING, message, norm=norm)


@lru_cache(maxsize=256)
def _effect(drop_rate: float) -> str:
    if drop_rate == 1.0:
        return "zeroes everything in training"
    return f"adds noise of {bernoulli_noise(1.0 - drop_rate):.2f}x its input's mean square"
