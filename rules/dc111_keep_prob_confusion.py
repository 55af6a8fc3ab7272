"""DC111: a drop rate that is meant as the part to keep."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.graph import Node
from dropcheck.ops import Attention, Dropout, Recurrent
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_HEAD = """\
class Net(nn.Module):
    def __init__(self, rate={}):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 256), nn.Linear(256, 10)
        self.drop = nn.Dropout(rate)

    def forward(self, x):
        return self.fc2(self.drop(F.relu(self.fc1(x))))
"""

_BY_HAND = ("mask", "noise")


class KeepProbConfusion(Rule):
    """A drop rate looks like the probability of keeping a unit.

    ## Why is this bad
    PyTorch's p is the probability of dropping. The papers, and TensorFlow 1, state the probability of keeping: their
    0.8 is p = 0.2 here. Taken over as it is, 0.8 leaves a fifth of the units and multiplies them by five, adding noise
    of four times their mean square. A rate of 1 leaves nothing: while training, whatever is behind the dropout sees
    zeros, and whatever is ahead of it gets no gradient.

    ## Use instead
    Give the probability of dropping: p = 1 − keep_prob. If that much is to be dropped on purpose, say so with
    `# dropcheck: ignore[DC111] -- reason`.

    ## Near misses
    Rates below 0.75, such as the usual 0.5 of wide linear layers, dropout held in evaluation mode, and masks drawn by
    hand are left alone. A rate that dropcheck had to guess is never reported.

    ## Source
    Li et al. 2019, Eq. 1, Kim et al. 2023 and Hendrycks and Gimpel 2016, who all write p for the probability of keeping;
    none of them drops as much as three quarters.
    """

    code = "DC111"
    name = "keep-prob-confusion"
    examples = (
        Example(
            "a keep probability as a drop rate",
            _HEAD.format("0.9"),
            expect=(
                "8: warning Dropout(0.90) keeps 0.10 of the units: p is the probability of dropping, not of keeping",
            ),
            input="2x64",
        ),
        Example("the probability of dropping", _HEAD.format("0.1"), input="2x64"),
        Example(
            "functional, with the papers' name",
            """\
KEEP_PROB = 0.8

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

    def forward(self, x):
        x = F.dropout2d(F.relu(self.conv(x)), KEEP_PROB, self.training)
        return self.fc(x.mean((2, 3)))
""",
            expect=(
                "9: warning dropout2d(0.80) keeps 0.20 of the units: p is the probability of dropping, not of keeping",
            ),
            input="2x3x8x8",
        ),
        Example(
            "everything dropped",
            "net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(p=1.0), nn.Linear(8, 2))",
            expect=("1: warning Dropout(1.00) drops everything: while training, nothing gets through it",),
            input="2x8",
        ),
        Example(
            "between the layers of an LSTM",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(16, 32, num_layers=2, dropout=0.75, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]
""",
            expect=(
                "7: warning LSTM(dropout=0.75) keeps 0.25 of the units: p is the probability of dropping, not of keeping",
            ),
            input="2x5x16",
        ),
        Example("half of the units", _HEAD.format("0.5"), input="2x64"),
        Example("seven in ten", _HEAD.format("0.7"), input="2x64"),
        Example("none", _HEAD.format("0.0"), input="2x64"),
        Example("one minus the keep probability", _HEAD.format("1 - 0.9"), input="2x64"),
        Example(
            "held in evaluation mode",
            "net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.9).eval(), nn.Linear(8, 2))",
            input="2x8",
        ),
    )

    limit = 0.75
    """Above the highest rates in use (0.7), below the usual keep probabilities (0.8, 0.9)."""

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in subject.graph.of(Dropout, Recurrent, Attention):
            rate = _drop_rate(node)
            if rate >= self.limit and not subject.is_guessed(rate):
                what = f"{node.op.kind}({rate:.2f})" if isinstance(node.op, Dropout) else _within(node, rate)
                yield self.finding(subject, node, Severity.WARNING, f"{what} {_consequence(rate)}")


def _drop_rate(node: Node) -> float:
    """Of a dropout that was written as one; 0 for anything that drops nothing while the model trains."""
    op = node.op
    if not node.training or not isinstance(op, (Dropout, Recurrent, Attention)) or op.kind in _BY_HAND:
        return 0.0
    return op.drop_rate


def _within(node: Node, rate: float) -> str:
    return f"{getattr(node.op, 'kind', '')}(dropout={rate:.2f})"


def _consequence(rate: float) -> str:
    if rate == 1.0:
        return "drops everything: while training, nothing gets through it"
    return f"keeps {1.0 - rate:.2f} of the units: p is the probability of dropping, not of keeping"
