"""DC202: dropout at the end of a residual branch."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.relocation import moves
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_BLOCK = """\
class PreActBlock(nn.Module):
    def __init__(self, width, p=0.2):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(p)

    def forward(self, x):
        out = self.conv1(F.relu(self.bn1(x)))
        {}
        return {}

net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), PreActBlock(32), PreActBlock(32), nn.BatchNorm2d(32))
"""
_AFTER = _BLOCK.format("out = self.dropout(self.conv2(F.relu(self.bn2(out))))", "x + out")
_NO_BETTER = "with a batch norm behind that layer, the branch has no better place"


class DropoutAfterLastWeight(Rule):
    """Dropout ends a residual branch, behind its last weight layer instead of ahead of it.

    ## Why is this bad
    Ahead of a weight layer every input has a mask of its own, and the layer's sum averages their noise: it adds
    (q/p) Σ_j w_j² E[x_j²] to the variance (q: drop rate, p = 1 − q). Behind the layer one mask decides about the whole
    sum and adds (q/p) E[(Σ_j w_j x_j)²], which is larger by (q/p) Σ_j Σ_k≠j w_j w_k E[x_j x_k]. That sum is positive in
    trained networks. What is added to the stream then reaches the batch norms of all later blocks: Δ behind the layer
    is below Δ ahead of it, which is below 1.

    ## Use instead
    Move the dropout ahead of the branch's last weight layer, behind the batch norm and activation that feed it. Where
    another batch norm follows that layer, build the branch in the order norm, activation, weight layer first.

    ## Near misses
    Silent: branches whose noise meets no norm with stored statistics, as in transformers with layer norm; a drop rate
    of 0; dropout or batch norms held in evaluation mode; stochastic depth, whose place this is; several dropouts in one
    branch, which are DC203. With a batch norm between the dropout and the addition it is DC201. In a branch that ends in
    a batch norm and then a dropout, moving alone may not help: what is worth a warning is info then.

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    info. Seen from the code alone it is at most a warning.

    ## Source
    Kim et al. 2023, "How to Use Dropout Correctly on Residual Networks with Batch Normalization", Proposition 2 (proof:
    supplement, section A) and guideline 1.
    """

    code = "DC202"
    name = "dropout-after-last-weight"
    examples = (
        Example(
            "on the branch, right before it is added",
            _AFTER,
            expect=(
                "10: warning Dropout(0.20) ends a residual branch, behind its last weight layer '1.conv2' (Δ = 0.89 at '2.bn1'); between '1.bn2' and its last weight layer '1.conv2' it would be 0.97",
                "10: warning Dropout(0.20) ends a residual branch, behind its last weight layer '2.conv2' (Δ = 0.92 at '3'); it belongs between '2.bn2' and its last weight layer '2.conv2'",
            ),
            input="2x3x8x8",
        ),
        Example(
            "ahead of the branch's last weight layer",
            _BLOCK.format("out = self.conv2(self.dropout(F.relu(self.bn2(out))))", "x + out"),
            input="2x3x8x8",
        ),
        Example(
            "functional, within the addition",
            _BLOCK.format("out = self.conv2(F.relu(self.bn2(out)))", "x + F.dropout2d(out, 0.4, self.training)"),
            expect=(
                "11: warning dropout2d(0.40) ends a residual branch, behind its last weight layer '1.conv2' (Δ = 0.75 at '2.bn1'); between '1.bn2' and its last weight layer '1.conv2' it would be 0.85",
                "11: warning dropout2d(0.40) ends a residual branch, behind its last weight layer '2.conv2' (Δ = 0.82 at '3'); it belongs between '2.bn2' and its last weight layer '2.conv2'",
            ),
            input="2x3x8x8",
        ),
        Example(
            "at the end of a Sequential, behind a batch norm",
            """\
class ResidualBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.BatchNorm1d(2 * dim), nn.ReLU(),
            nn.Linear(2 * dim, dim), nn.BatchNorm1d(dim), nn.Dropout(0.5),
        )

    def forward(self, x):
        return x + self.layers(x)

net = nn.Sequential(nn.Linear(20, 256), *(ResidualBlock(256) for _ in range(3)), nn.Linear(256, 1))
""",
            expect=(
                "6: info Dropout(0.50) ends a residual branch, behind its last weight layer '1.layers.3' (Δ = 0.92 at '2.layers.1'); with a batch norm behind that layer, the branch has no better place",
                "6: info Dropout(0.50) ends a residual branch, behind its last weight layer '2.layers.3' (Δ = 0.94 at '3.layers.1'); with a batch norm behind that layer, the branch has no better place",
            ),
            input="8x20",
        ),
        Example(
            "weights with which little shift is left",
            _AFTER,
            expect=(
                "10: info Dropout(0.20) ends a residual branch, behind its last weight layer '1.conv2' (Δ = 0.97 at '2.bn1'); between '1.bn2' and its last weight layer '1.conv2' it would go, by the code alone, from 0.89 to 0.97",
            ),
            input="2x3x8x8",
            weights={"2.bn1": 0.97},
        ),
        Example(
            "layer norm",
            """\
class EncoderLayer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.fc2(F.gelu(self.fc1(self.norm(x)))))

net = nn.Sequential(EncoderLayer(32), EncoderLayer(32))
""",
            input="2x10x32",
        ),
        Example("a drop rate of zero", _AFTER.replace("p=0.2", "p=0.0"), input="2x3x8x8"),
        Example(
            "no running statistics",
            _AFTER.replace("BatchNorm2d(width)", "BatchNorm2d(width, track_running_stats=False)").replace(
                "BatchNorm2d(32)", "BatchNorm2d(32, track_running_stats=False)"
            ),
            input="2x3x8x8",
        ),
        Example(
            "frozen batch norms",
            _AFTER + "for layer in net.modules():\n    if isinstance(layer, nn.BatchNorm2d):\n        layer.eval()\n",
            input="2x3x8x8",
        ),
        Example(
            "dropout held in evaluation mode",
            _AFTER + "for block in net[1:3]:\n    block.dropout.eval()\n",
            input="2x3x8x8",
        ),
    )

    def check(self, subject: Subject) -> Iterator[Finding]:
        for move in moves(subject):
            met, lone = move.met, move.lone
            severity = subject.severity(met.delta)
            if not lone.is_behind or lone.next_norm is not None or (severity is Severity.INFO and not move.better):
                continue
            message = (
                f"{met.noise} ends a residual branch, behind its last weight layer {lone.layer.path!r} "
                f"(Δ = {met.delta:.2f} at {met.norm.path!r}); {move.gain if move.better else _NO_BETTER}"
            )
            least = severity if move.better else Severity.INFO
            yield self.finding(subject, met.dropout, least, message, norm=met.norm, delta=met.delta)
