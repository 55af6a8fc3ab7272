"""DC201: dropout in a residual branch, ahead of one of its batch norms."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.graph import Node
from dropcheck.relocation import Lone, lone_dropouts, met_by_dropout, moves
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_NO_BETTER = ", which is no better"

_BLOCK = """\
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        {}
        {}
        return x + h

net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), Block(64), Block(64), nn.BatchNorm2d(64))
"""


class ResidualDropoutPosition(Rule):
    """Dropout in a residual branch stands ahead of one of the branch's batch norms.

    ## Why is this bad
    The batch norm stores the variance that the noise has in training and divides by it in evaluation, where there is
    no noise. Behind the branch's last batch norm nothing of the branch is left to be harmed, and ahead of its last
    weight layer that layer averages the noise before it joins the stream: of all places in a branch the one with the
    least shift, and in Kim et al.'s experiments the one with the best accuracy.

    ## Use instead
    Put the dropout behind the last batch norm of the branch and ahead of its last weight layer. A branch that ends in
    a batch norm has no such place; built in the order norm, activation, weight layer it has.

    ## Near misses
    Left alone: the dropout of Wide ResNet, which is in its place; branches in which noise meets no norm with stored
    statistics (layer norm, a drop rate of 0, dropout or batch norms held in evaluation mode); stochastic depth. Behind
    the last weight layer it is DC202, on the stream DC204, and several in one branch are DC203. Where the right place
    would cause no less shift (a last weight layer narrower than the one before), or is taken already (a branch that ends
    in a batch norm, the dropout ahead of its last weight layer), that is said as info if the shift is worth a warning.

    ## Options
    `thresholds.warning`: the shift ratio from which this is a warning, below it is info. It is never an error.

    ## Source
    Kim et al. 2023, "How to Use Dropout Correctly on Residual Networks with Batch Normalization", guideline 1; width
    and both positions in supplement, section G.
    """

    code = "DC201"
    name = "residual-dropout-position"
    examples = (
        Example(
            "between a convolution and the batch norm behind it",
            _BLOCK.format("h = self.drop(self.conv1(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))"),
            expect=(
                "9: warning Dropout(0.30) of a residual branch stands behind '1.conv1' and ahead of batch norm '1.bn2' (Δ = 0.70 at '1.bn2'); between '1.bn2' and its last weight layer '1.conv2' it would be 0.96",
                "9: warning Dropout(0.30) of a residual branch stands behind '2.conv1' and ahead of batch norm '2.bn2' (Δ = 0.70 at '2.bn2'); it belongs between '2.bn2' and its last weight layer '2.conv2'",
            ),
            input="2x3x8x8",
        ),
        Example(
            "behind the last batch norm, ahead of the last weight layer",
            _BLOCK.format("h = self.conv1(F.relu(self.bn1(x)))", "h = self.conv2(self.drop(F.relu(self.bn2(h))))"),
            input="2x3x8x8",
        ),
        Example(
            "ahead of the first weight layer",
            _BLOCK.format("h = self.conv1(self.drop(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))"),
            expect=(
                "9: warning Dropout(0.30) of a residual branch stands ahead of all its weight layers and of batch norm '1.bn2' (Δ = 0.93 at '1.bn2'); between '1.bn2' and its last weight layer '1.conv2' it would be 0.96",
                "9: warning Dropout(0.30) of a residual branch stands ahead of all its weight layers and of batch norm '2.bn2' (Δ = 0.93 at '2.bn2'); it belongs between '2.bn2' and its last weight layer '2.conv2'",
            ),
            input="2x3x8x8",
        ),
        Example(
            "functional, a branch that ends in a batch norm, beside a projection",
            """\
class Block(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width))

    def forward(self, x):
        h = self.conv2(F.relu(self.bn1(self.conv1(x))))
        h = self.bn2(F.dropout2d(h, 0.2, self.training))
        return F.relu(h + self.shortcut(x))

net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), Block(16, 32))
""",
            expect=(
                "10: warning dropout2d(0.20) of a residual branch stands behind '2.conv2' and ahead of batch norm '2.bn2' (Δ = 0.80 at '2.bn2'); between '2.bn1' and its last weight layer '2.conv2' it would be 0.88",
            ),
            input="2x3x8x8",
        ),
        Example(
            "a branch that ends in a batch norm has no better place",
            """\
class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.4),
            nn.Linear(width, width), nn.BatchNorm1d(width),
        )

    def forward(self, x):
        return F.relu(x + self.branch(x))

net = nn.Sequential(nn.Linear(16, 64), Residual(64))
""",
            expect=(
                "5: info Dropout(0.40) of a residual branch stands behind '1.branch.0' and ahead of batch norm '1.branch.5' (Δ = 0.78 at '1.branch.5'); a branch that ends in a batch norm has no better place",
            ),
            input="4x16",
        ),
        Example(
            "a bottleneck, whose last layer is narrower than the one before",
            """\
class Bottleneck(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(4 * width), nn.Conv2d(4 * width, width, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(width), nn.Conv2d(width, 4 * width, 1)

    def forward(self, x):
        h = F.dropout(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))), 0.3, self.training)
        return x + self.conv3(F.relu(self.bn3(self.conv2(h))))

net = nn.Sequential(nn.Conv2d(3, 256, 3, padding=1), Bottleneck(64), nn.BatchNorm2d(256))
""",
            expect=(
                "9: info dropout(0.30) of a residual branch stands behind '1.conv1' and ahead of batch norm '1.bn3' (Δ = 0.93 at '1.bn3'); between '1.bn3' and its last weight layer '1.conv3' it would be 0.92, which is no better",
            ),
            input="2x3x8x8",
        ),
        Example(
            "a drop rate of zero",
            _BLOCK.format(
                "h = self.drop(self.conv1(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))"
            ).replace("0.3", "0.0"),
            input="2x3x8x8",
        ),
        Example(
            "group norm",
            _BLOCK.format("h = self.drop(self.conv1(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))")
            .replace("BatchNorm2d(width)", "GroupNorm(8, width)")
            .replace("BatchNorm2d(64)", "GroupNorm(8, 64)"),
            input="2x3x8x8",
        ),
        Example(
            "no running statistics",
            _BLOCK.format("h = self.drop(self.conv1(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))")
            .replace("BatchNorm2d(width)", "BatchNorm2d(width, track_running_stats=False)")
            .replace("BatchNorm2d(64)", "BatchNorm2d(64, track_running_stats=False)"),
            input="2x3x8x8",
        ),
        Example(
            "dropout held in evaluation mode",
            _BLOCK.format("h = self.drop(self.conv1(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))")
            + "for block in net[1:3]:\n    block.drop.eval()\n",
            input="2x3x8x8",
        ),
        Example(
            "frozen batch norms",
            _BLOCK.format("h = self.drop(self.conv1(F.relu(self.bn1(x))))", "h = self.conv2(F.relu(self.bn2(h)))")
            + "for layer in net.modules():\n    if isinstance(layer, nn.BatchNorm2d):\n        layer.eval()\n",
            input="2x3x8x8",
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        for move in moves(subject):
            met, norm = move.met, move.lone.next_norm
            severity = min(subject.severity(met.delta), Severity.WARNING, key=lambda one: one.rank)
            if norm is None or (severity is Severity.INFO and not move.better):
                continue
            message = (
                f"{met.noise} of a residual branch stands {_stands(move.lone, norm)} "
                f"(Δ = {met.delta:.2f} at {met.norm.path!r}); {move.gain}{'' if move.better else _NO_BETTER}"
            )
            least = severity if move.better else Severity.INFO
            yield self.finding(subject, met.dropout, least, message, norm=met.norm, delta=met.delta)
        yield from self._without_a_place(subject)

    def _without_a_place(self, subject: Subject) -> Iterator[Finding]:
        """What stands as well as it can in branches that end in a batch norm."""
        stuck = [(lone, norm) for lone in lone_dropouts(subject.graph) if lone.in_place and (norm := lone.next_norm)]
        met = met_by_dropout(subject) if stuck else {}
        for lone, norm in stuck:
            here = met.get(lone.dropout.name)
            if here is not None and subject.severity(here.delta) is not Severity.INFO:
                message = (
                    f"{here.noise} of a residual branch stands {_stands(lone, norm)} (Δ = {here.delta:.2f} at "
                    f"{here.norm.path!r}); a branch that ends in a batch norm has no better place"
                )
                yield self.finding(subject, lone.dropout, Severity.INFO, message, norm=here.norm, delta=here.delta)


def _stands(lone: Lone, norm: Node) -> str:
    """``behind 'conv1' and ahead of batch norm 'bn2'``: its place among the branch's weight layers and norms."""
    start = f"behind {lone.previous.path!r} and ahead of" if lone.previous else "ahead of all its weight layers and of"
    return f"{start} batch norm {norm.path!r}"
