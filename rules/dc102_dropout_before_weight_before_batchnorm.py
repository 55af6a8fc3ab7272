"""DC102: case (b) of Li et al. 2019, weight layers between a dropout and a batch norm."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from dropcheck.encounter import encounters
from dropcheck.graph import WEIGHT_LAYERS, Node, Way
from dropcheck.ops import Attention, Recurrent, Weight
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.shift import Evidence, typical_cos2_theta
from dropcheck.shift.priors import FAN_IN


class DropoutBeforeWeightBeforeBatchNorm(Rule):
    """Dropout reaches a batch norm through a weight layer too narrow to average the noise away.

    ## Why is this bad
    A weight layer sums d inputs. Their signals agree and add up, the noise of dropout is independent and averages out:
    the more, the larger d·cos²θ is, where cos²θ = (Σw)² / (d Σw²) says how far a filter's weights agree in sign. In
    a narrow layer noise is left; the batch norm stores its variance in training and divides by it in evaluation.

    ## Use instead
    Lower the drop rate, widen the layer that reads the dropout, or move the dropout behind the last batch norm.

    ## Near misses
    A layer wide enough to bring the shift ratio below the warning threshold is not reported (as in Wide ResNet, where
    this very position helps), nor are a drop rate of 0, a norm without running statistics on the way, and a batch norm
    or dropout held in evaluation mode. No weight layer between is DC101, a max-pool between DC103.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    left alone. Seen from the code alone it is at most a warning.

    ## Source
    Li et al. 2019, section 3.2 (Eq. 10–12) and Table 1 for cos²θ of trained networks.
    """

    code = "DC102"
    name = "dropout-before-weight-before-batchnorm"
    examples = (
        Example(
            "a narrow bottleneck",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = self.drop(F.relu(self.bn1(self.conv1(x))))
        return F.relu(self.bn2(self.conv2(x)))
""",
            expect=(
                "9: warning Dropout(0.30) reaches batch norm 'bn2' through 'conv2' (d = 144, cos²θ = 0.027, d·cos²θ = 3.88): its running variance will be 1.14x what evaluation sees (Δ = 0.87)",
            ),
            input="2x16x8x8",
        ),
        Example(
            "the dropout behind the last batch norm",
            """\
net = nn.Sequential(
    nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.3),
)
""",
            input="2x16x8x8",
        ),
        Example(
            "functional, two weight layers, two batch norms",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 64), nn.Linear(64, 32), nn.Linear(64, 32)
        self.bn2, self.bn3 = nn.BatchNorm1d(32), nn.BatchNorm1d(32)

    def forward(self, x):
        x = self.fc1(F.dropout(x, 0.5, self.training))
        return self.bn2(self.fc2(x)) + self.bn3(self.fc3(x))
""",
            expect=(
                "8: warning dropout(0.50) reaches batch norm 'bn2' (and 1 more) through 'fc1' and 1 more (d = 64, cos²θ = 0.036, d·cos²θ = 2.28): its running variance will be 1.16x what evaluation sees (Δ = 0.86)",
            ),
            input="2x64",
        ),
        Example(
            "blocks built in a loop",
            """\
layers = []
for width, rate in ((64, 0.2), (32, 0.25)):
    layers += [nn.Dropout(rate), nn.Linear(width, 32), nn.BatchNorm1d(32), nn.GELU()]
net = nn.Sequential(*layers)
""",
            expect=(
                "3: warning Dropout(0.20) reaches batch norm '2' through '1' (d = 64, cos²θ = 0.036, d·cos²θ = 2.28): its running variance will be 1.07x what evaluation sees (Δ = 0.93)",
                "3: warning Dropout(0.25) reaches batch norm '6' through '5' (d = 32, cos²θ = 0.051, d·cos²θ = 1.64): its running variance will be 1.14x what evaluation sees (Δ = 0.88)",
            ),
            input="2x64",
        ),
        Example("a wide layer", "net = nn.Sequential(nn.Dropout(0.3), nn.Linear(5760, 9), nn.BatchNorm1d(9))"),
        Example("a drop rate of zero", "net = nn.Sequential(nn.Dropout(0.0), nn.Linear(8, 8), nn.BatchNorm1d(8))"),
        Example(
            "a layer norm", "net = nn.Sequential(nn.Dropout(), nn.Linear(8, 8), nn.LayerNorm(8), nn.BatchNorm1d(8))"
        ),
        Example("frozen batch norm", "net = nn.Sequential(nn.Dropout(), nn.Linear(8, 8), nn.BatchNorm1d(8).eval())"),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        for met in encounters(subject, Way.WEIGHTED):
            severity = subject.severity(met.delta)
            if severity is not Severity.INFO:
                layers = [
                    node for node in subject.graph.route(met.dropout, met.norm) if isinstance(node.op, WEIGHT_LAYERS)
                ]
                through = f"{layers[0].path!r}" + (f" and {len(layers) - 1} more" if len(layers) > 1 else "")
                width = _width(subject, layers[0])
                message = f"{met.noise} reaches {met.target} through {through} ({width}): {met.harm}"
                yield self.finding(subject, met.dropout, severity, message, norm=met.norm, delta=met.delta)


def _width(subject: Subject, layer: Node) -> str:
    """d, cos²θ and their product for the layer that reads the dropout: behind it the noise is no longer independent.

    They are those Δ rests on: typical ones for the code alone, else those of the layer's weights if these were found.
    """
    fan_in = layer.op.fan_in if isinstance(layer.op, Weight | Recurrent | Attention) else None
    if subject.shifts.evidence is Evidence.PRIOR:
        return _typical_product(fan_in, layer.op.positions if isinstance(layer.op, Weight) else 1)
    known = subject.layers.get(layer.path)
    if known is not None and known.cos2_theta is not None:
        return _product(known.fan_in, known.cos2_theta)
    return "d unknown" if fan_in is None else f"d = {fan_in}"


@lru_cache(maxsize=256)
def _typical_product(fan_in: int | None, positions: int) -> str:
    cos2_theta = typical_cos2_theta(fan_in, positions)
    return _product(FAN_IN, cos2_theta, " assumed") if fan_in is None else _product(fan_in, cos2_theta)


def _product(fan_in: int, cos2_theta: float, remark: str = "") -> str:
    return f"d = {fan_in}{remark}, cos²θ = {cos2_theta:.3f}, d·cos²θ = {fan_in * cos2_theta:.2f}"
