"""DC105: branches dropped for whole samples, and the batch norms behind them."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.encounter import encounters
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_NET = """\
class DropPath(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        keep = 1.0 - self.drop_prob
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep) / keep if self.training else x

class Block(nn.Module):
    def __init__(self, width, drop_prob):
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)
        self.drop_path = DropPath(drop_prob)

    def forward(self, x):
        return x + self.drop_path(self.conv(F.relu(self.bn(x))))

net = nn.Sequential(*(Block(64, rate) for rate in {}), nn.BatchNorm2d(64))
"""


class StochasticDepthBeforeBatchNorm(Rule):
    """Stochastic depth drops a branch whose noise a batch norm further down sees.

    ## Why is this bad
    Stochastic depth drops the branch of a whole sample with probability q and multiplies what it keeps by 1/p, p being
    1 − q. That adds (q/p) E[branch²] to the variance of the stream in training only, the same draw for every channel
    and position: no weight layer averages it away. A batch norm on the stream, or behind the first layer of a later
    branch, stores that variance and divides by it in evaluation. A norm inside the branch, ahead of the drop, sees
    nothing of it.

    ## Use instead
    Keep the drop rates small and let them grow with depth from 0, so that the strongest noise has the fewest norms
    behind it; or normalise the stream with nn.LayerNorm or nn.GroupNorm, which store nothing of training.

    A network already trained this way recovers in part when its running statistics are estimated again with
    dropout off (`dropcheck recalibrate`).

    ## Near misses
    Rates so small beside the stream that the shift ratio stays below the warning threshold are not reported. How strong
    a branch is beside its stream only trained weights tell: without them the shift ratio has to reach the error
    threshold, which the rates that networks with batch norm are published with (up to 0.2, growing with depth) do not.
    Networks that normalise with layer norm, a branch dropped behind the last batch norm, and a drop rate of 0 are
    clean. What many small rates add up to is DC104.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    left alone. Seen from the code alone an error is called a warning, and a warning is left alone.

    ## Source
    Huang et al. 2016, "Deep Networks with Stochastic Depth", for rates that grow linearly with depth; Kim et al. 2023,
    supplement, Eq. 9, for the noise, here with one draw for all units of a branch.
    """

    code = "DC105"
    name = "stochastic-depth-before-batchnorm"
    examples = (
        Example(
            "rates that fall with depth",
            _NET.format("(0.4, 0.2, 0.0)"),
            expect=(
                "17: warning DropPath(0.40) drops a branch whose noise reaches batch norm '1.bn' (and 2 more): its running variance will be 1.33x what evaluation sees (Δ = 0.75)",
            ),
            input="2x64x8x8",
        ),
        Example("small rates that grow with depth", _NET.format("(0.0, 0.05, 0.1)"), input="2x64x8x8"),
        Example(
            "a layer of its own name on a stream of vectors, the norm behind a linear layer",
            """\
class StochasticDepth(nn.Module):
    def __init__(self, p, mode):
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x):
        if not self.training:
            return x
        return x * torch.empty(x.shape[0], 1).bernoulli_(1.0 - self.p) / (1.0 - self.p)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.branch, self.head = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 16)
        self.depth, self.norm = StochasticDepth(p=0.5, mode="row"), nn.BatchNorm1d(16)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.depth(torch.tanh(self.branch(x)))
        return self.norm(self.head(x))
""",
            expect=(
                "19: warning StochasticDepth(0.50) drops a branch whose noise reaches batch norm 'norm': its running variance will be 1.28x what evaluation sees (Δ = 0.78)",
            ),
            input="2x32",
        ),
        Example(
            "small rates whose branches trained weights have made strong",
            _NET.format("(0.1, 0.0, 0.0)"),
            expect=(
                "17: error DropPath(0.10) drops a branch whose noise reaches batch norm '1.bn' (and 2 more): its running variance is 1.28x what evaluation sees (Δ = 0.78)",
            ),
            input="2x64x8x8",
            weights={"1.bn": 0.78, "2.bn": 0.96},
        ),
        Example(
            "layer norm on the stream",
            _NET.format("(0.4, 0.2, 0.0)")
            .replace("BatchNorm2d(width)", "GroupNorm(1, width)")
            .replace("BatchNorm2d(64)", "GroupNorm(1, 64)"),
            input="2x64x8x8",
        ),
        Example("a drop rate of zero", _NET.format("(0.0, 0.0, 0.0)"), input="2x64x8x8"),
        Example(
            "dropped behind the last batch norm",
            _NET.format("(0.0, 0.0, 0.3)").replace(", nn.BatchNorm2d(64)", ""),
            input="2x64x8x8",
        ),
        Example(
            "held in evaluation mode",
            _NET.format("(0.4, 0.2, 0.0)") + "for block in net[:-1]:\n    block.drop_path.eval()\n",
            input="2x64x8x8",
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        for met in encounters(subject, of_samples=True):
            severity = subject.severity_of_branches(met.delta)
            if severity is not Severity.INFO:
                message = f"{met.noise} drops a branch whose noise reaches {met.target}: {met.harm}"
                if f"{met.total:.2f}" != f"{met.delta:.2f}":
                    message += f", with all other dropouts Δ = {met.total:.2f}"
                yield self.finding(subject, met.dropout, severity, message, norm=met.norm, delta=met.delta)
