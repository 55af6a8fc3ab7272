"""DC701: trained weights whose stored batch norm statistics are not those of the network without dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dropcheck.encounter import inflation
from dropcheck.rule import Example, Finding, Rule, Severity, Subject, ratio
from dropcheck.shift import Evidence

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 8)
        self.bn1, self.drop = nn.BatchNorm1d(64), nn.Dropout(0.5)
        self.bn2 = nn.BatchNorm1d(64)

    def forward(self, x):
        x = F.relu(self.bn1(self.drop(self.fc1(x))))
        return self.fc3(F.relu(self.bn2(self.fc2(x))))
"""


class StaleBatchNormStatistics(Rule):
    """Trained weights come with batch norm statistics that the network without dropout does not have.

    ## Why is this bad
    The running statistics were gathered in training, with the noise of dropout in every activation. Evaluation has no
    such noise: the norms named here divide by a variance that their input never shows, and the error travels on from
    norm to norm. The weights themselves are fine; the statistics are what spoils them.

    ## Use instead
    Estimate the running statistics again with dropout off: `dropcheck recalibrate` writes the same file with new ones, and
    `dropcheck.recalibrate(model, loader)` does it in Python. torch.optim.swa_utils.update_bn does not, it leaves dropout
    on.

    This changes no weight and takes one pass over a part of the data. It recovers most of what the shift costs, not
    all: the next network is better trained without the shift.

    ## Near misses
    Without trained weights nothing is known of stored statistics, and this rule is silent. So it is where every norm
    stays below the warning threshold, as in networks without dropout and in wide ones.

    Statistics are taken to be those of training unless the file is marked as recalibrated, as `dropcheck recalibrate`
    marks it: a state dict itself does not say whether they have been estimated again since. Leave this rule out
    (--ignore DC701) for one where they have by other means.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    left alone.

    ## Source
    Li et al. 2019, section 4 and Table 3; Hendrycks and Gimpel 2016, "Adjusting for Dropout Variance in Batch
    Normalization and Weight Initialization", section 3, who estimate the variance again.
    """

    code = "DC701"
    name = "stale-batchnorm-statistics"
    examples = (
        Example(
            "weights trained with dropout ahead of batch norms",
            _NET,
            expect=(
                "5: error 2 of 2 batch norms store statistics that evaluation does not have, worst of them 'bn1': its running variance is 2.00x what evaluation sees (Δ = 0.50)",
            ),
            input="4x32",
            weights={"bn1": 0.5, "bn2": 1.4},
        ),
        Example(
            "the same weights after their statistics have been estimated again",
            _NET
            + """
def estimate_again(net, batches):
    net.eval()  # dropout off
    for norm in (net.bn1, net.bn2):
        norm.reset_running_stats()
        norm.momentum = None  # every batch counts the same
        norm.train()
    with torch.no_grad():
        for batch in batches:
            net(batch)
    return net.eval()
""",
            input="4x32",
            weights={"bn1": 1.0, "bn2": 0.99},
        ),
        Example(
            "a Sequential with one norm off",
            """\
net = nn.Sequential(
    nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout2d(0.2),
    nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
)
""",
            expect=(
                "3: warning 1 of 2 batch norms store statistics that evaluation does not have, worst of them '5': its running variance is 1.11x what evaluation sees (Δ = 0.90)",
            ),
            input="2x3x8x8",
            weights={"5": 0.9},
        ),
        Example("no trained weights", _NET, input="4x32"),
        Example("a shift not worth a warning", _NET, input="4x32", weights={"bn1": 0.96, "bn2": 1.04}),
        Example(
            "no norm keeps statistics",
            _NET.replace("(64), nn.Dropout", "(64, track_running_stats=False), nn.Dropout").replace(
                "self.bn2 = nn.BatchNorm1d(64)", "self.bn2 = nn.LayerNorm(64)"
            ),
            input="4x32",
            weights={"bn1": 0.5},
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        if subject.shifts.evidence is Evidence.PRIOR:
            return
        known = {name: shift.delta for name, shift in subject.shifts.norms.items() if shift.delta is not None}
        off = {name: delta for name, delta in known.items() if subject.severity(delta) is not Severity.INFO}
        if not off:
            return
        worst = max(off, key=lambda name: ratio(off[name]))
        norm, delta, sources = subject.graph[worst], off[worst], subject.shifts.norms[worst].sources
        message = (
            f"{len(off)} of {len(known)} batch norms store statistics that evaluation does not have, "
            f"worst of them {norm.path!r}: {inflation(delta, subject.shifts.evidence)}"
        )
        blamed = subject.graph[sources[0].dropout] if sources else norm
        finding = self.finding(subject, blamed, subject.severity(delta), message, norm=norm, delta=delta)
        yield replace(finding, site=norm.built or norm.site)
