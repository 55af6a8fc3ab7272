"""DC101: case (a) of Li et al. 2019, no weight layer between a dropout and a batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.encounter import encounters
from dropcheck.graph import Way
from dropcheck.rule import Example, Finding, Rule, Subject


class DropoutBeforeBatchNorm(Rule):
    """Dropout reaches a batch norm with no weight layer between them.

    ## Why is this bad
    Dropout multiplies what it keeps by 1/p, p being the keep probability, so in training every unit has the variance
    (c² + v)/p − c² instead of v (c: its mean, v: its variance). The batch norm stores that larger variance and divides
    by it in evaluation, where dropout is off: its output is too small by the square root of
    Δ = v / ((c² + v)/p − c²), and every layer behind it sees inputs it was not trained on. No width helps here.

    ## Use instead
    Move the dropout behind the last batch norm, or between the branch's last batch norm and its last weight layer;
    or normalise with nn.LayerNorm or nn.GroupNorm, which store nothing of training.

    A network already trained this way recovers in part when its running statistics are estimated again with
    dropout off (`dropcheck recalibrate`).

    ## Near misses
    A drop rate of 0, a dropout held in evaluation mode, a batch norm that tracks no running statistics or is held in
    evaluation mode, a layer norm on the way, and dropout behind the last batch norm are all left alone.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    info.

    ## Source
    Li et al. 2019, "Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift",
    section 3.1 (Eq. 6) and Table 3 for the re-estimated statistics.
    """

    code = "DC101"
    name = "dropout-before-batchnorm"
    examples = (
        Example(
            "a layer between ReLU and batch norm",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.drop = nn.Dropout(0.5)
        self.bn = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.bn(self.drop(x))
        return self.fc2(x)
""",
            expect=(
                "11: error Dropout(0.50) feeds batch norm 'bn' directly: its running variance will be 2.47x what evaluation sees (Δ = 0.41)",
            ),
            input="2x64",
        ),
        Example(
            "the dropout behind the last batch norm",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.bn = nn.BatchNorm1d(128)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = self.bn(F.relu(self.fc1(x)))
        return self.fc2(self.drop(x))
""",
            input="2x64",
        ),
        Example(
            "functional dropout after a batch norm, ReLU before the next one",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn1, self.bn2 = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.BatchNorm2d(16)

    def forward(self, x):
        x = self.bn1(self.conv(x))
        x = F.dropout(x, 0.2, training=self.training)
        return self.bn2(F.relu(x))
""",
            expect=(
                "8: error dropout(0.20) reaches batch norm 'bn2' with no weight layer between: its running variance will be 1.37x what evaluation sees (Δ = 0.73)",
            ),
            input="2x3x8x8",
        ),
        Example(
            "blocks built in a loop",
            """\
def block(width):
    return [nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1), nn.BatchNorm1d(width)]

net = nn.Sequential(*[layer for _ in range(2) for layer in block(32)], nn.Linear(32, 2))
""",
            expect=(
                "2: warning Dropout(0.10) feeds batch norm '3' directly: its running variance will be 1.16x what evaluation sees (Δ = 0.86)",
                "2: warning Dropout(0.10) feeds batch norm '7' directly: its running variance will be 1.16x what evaluation sees (Δ = 0.86)",
            ),
            input="2x32",
        ),
        Example("a drop rate of zero", "net = nn.Sequential(nn.Dropout(0.0), nn.BatchNorm1d(8))", input="4x8"),
        Example("dropout held in evaluation mode", "net = nn.Sequential(nn.Dropout().eval(), nn.BatchNorm1d(8))"),
        Example("frozen batch norm", "net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(8).eval())"),
        Example(
            "no running statistics",
            "net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(8, track_running_stats=False))",
        ),
        Example("layer norm between", "net = nn.Sequential(nn.Dropout(), nn.LayerNorm(8), nn.BatchNorm1d(8))"),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        for met in encounters(subject, Way.DIRECT):
            direct = met.dropout.name in met.norm.inputs
            way = "feeds {} directly" if direct else "reaches {} with no weight layer between"
            severity = subject.thresholds.severity(met.delta)
            message = f"{met.noise} {way.format(met.target)}: {met.harm}"
            yield self.finding(subject, met.dropout, severity, message, norm=met.norm, delta=met.delta)
