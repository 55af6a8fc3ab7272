"""DC104: noise of many dropouts that adds up on its way, or a shift that earlier norms pass on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from math import fsum

from dropcheck.encounter import drops_samples, inflation, line_of, meetings, severities, shown
from dropcheck.graph import Graph, Site
from dropcheck.ops import Dropout
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.shift import NormShift

_INFO = Severity.INFO
_RESIDUAL = """\
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bn, self.fc1, self.fc2 = nn.BatchNorm1d(width), nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.07)

    def forward(self, x):
        return x + {}

net = nn.Sequential(nn.Linear(32, 128), *(Block(128) for _ in range({})), nn.BatchNorm1d(128){}, nn.Linear(128, 10))
"""


class AccumulatedShift(Rule):
    """A batch norm is shifted by dropouts none of which would do it alone, or by way of earlier norms.

    ## Why is this bad
    On a residual or dense stream nothing takes noise away again: every block adds what its dropout makes, and a batch
    norm far down sees all of it. Trained weights show more: a norm whose statistics are off passes its error on through
    activation and weights, so that norms with no dropout near them are shifted too, and often the other way (Δ > 1).

    ## Use instead
    Use fewer dropouts or lower rates along the stream: one per branch, ahead of its last weight layer, or a single one
    behind the last batch norm.

    A network already trained this way recovers in part when its running statistics are estimated again with
    dropout off (`dropcheck recalibrate`).

    ## Near misses
    Where the rules about single dropouts say as much, nothing is added: one dropout is enough at this very norm, or
    most of its noise comes from source lines that are reported elsewhere. Two dropouts are not many; streams that stay
    below the warning threshold, and norms behind a layer norm, are clean. Where most of the noise is stochastic depth's,
    the code alone has to promise a shift ratio of the error threshold (see DC105).

    ## Options
    `thresholds.error` and `thresholds.warning`: the shift ratios from which this is an error or a warning, below it is
    left alone. Seen from the code alone it is at most a warning.

    ## Source
    Li et al. 2019, section 4, who measure the ratio at every norm of a network; Kim et al. 2023, guideline 1, for the
    remedy. That norms pass a shift on, with Δ up to 2.0, was measured for this rule on small trained networks.
    """

    code = "DC104"
    name = "accumulated-shift"
    examples = (
        Example(
            "a residual stream with a dropout in every block",
            _RESIDUAL.format("self.drop(self.fc2(F.relu(self.fc1(self.bn(x)))))", 4, ""),
            expect=(
                "8: warning batch norm '4.bn' sees the noise of 3 dropouts add up, 33% of it from Dropout(0.07) '1.drop': its running variance will be 1.06x what evaluation sees (Δ = 0.95)",
                "10: warning batch norm '5' sees the noise of 4 dropouts add up, 25% of it from Dropout(0.07) '1.drop': its running variance will be 1.06x what evaluation sees (Δ = 0.94)",
            ),
            input="4x32",
        ),
        Example(
            "a single dropout behind the last batch norm",
            _RESIDUAL.format("self.fc2(F.relu(self.fc1(self.bn(x))))", 4, ", nn.Dropout(0.07)"),
            input="4x32",
        ),
        Example(
            "a dense stream, functional",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(16 + 12 * i) for i in range(7))
        self.convs = nn.ModuleList(nn.Conv2d(16 + 12 * i, 12, 3, padding=1) for i in range(6))

    def forward(self, x):
        for norm, conv in zip(self.norms, self.convs):
            x = torch.cat([x, F.dropout(conv(F.relu(norm(x))), 0.08, self.training)], 1)
        return self.norms[-1](x)
""",
            expect=(
                "9: warning batch norm 'norms.3' sees the noise of 3 dropouts add up, 33% of it from dropout(0.08) '/dropout': its running variance will be 1.06x what evaluation sees (Δ = 0.94)",
                "9: warning batch norm 'norms.4' sees the noise of 4 dropouts add up, 25% of it from dropout(0.08) '/dropout': its running variance will be 1.07x what evaluation sees (Δ = 0.94)",
                "9: warning batch norm 'norms.5' sees the noise of 5 dropouts add up, 20% of it from dropout(0.08) '/dropout': its running variance will be 1.07x what evaluation sees (Δ = 0.94)",
                "10: warning batch norm 'norms.6' sees the noise of 6 dropouts add up, 17% of it from dropout(0.08) '/dropout': its running variance will be 1.07x what evaluation sees (Δ = 0.93)",
            ),
            input="2x16x8x8",
        ),
        Example(
            "two norms behind a dropout, as trained weights tell",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 8)
        self.bn1, self.bn2, self.drop = nn.BatchNorm1d(64), nn.BatchNorm1d(64), nn.Dropout(0.2)

    def forward(self, x):
        x = F.relu(self.bn1(self.fc1(self.drop(x))))
        return self.fc3(F.relu(self.bn2(self.fc2(x))))
""",
            expect=(
                "9: error batch norm 'bn2' is shifted by way of earlier norms by Dropout(0.20) 'drop': its running variance is 0.77x what evaluation sees (Δ = 1.30)",
            ),
            weights={"bn1": 0.96, "bn2": 1.3},
            input="4x32",
        ),
        Example(
            "a rate that the rule about single dropouts reports",
            _RESIDUAL.format("self.drop(self.fc2(F.relu(self.fc1(self.bn(x)))))", 4, "").replace("0.07", "0.3"),
            input="4x32",
        ),
        Example(
            "two blocks",
            _RESIDUAL.format("self.drop(self.fc2(F.relu(self.fc1(self.bn(x)))))", 2, ""),
            input="4x32",
        ),
        Example(
            "layer norm in the blocks and behind them",
            _RESIDUAL.format("self.drop(self.fc2(F.relu(self.fc1(self.bn(x)))))", 4, "").replace(
                "BatchNorm1d", "LayerNorm"
            ),
            input="4x32",
        ),
        Example(
            "trained weights without a shift worth a warning",
            _RESIDUAL.format("self.drop(self.fc2(F.relu(self.fc1(self.bn(x)))))", 4, ""),
            input="4x32",
            weights={"4.bn": 0.97, "5": 1.04},
        ),
    )

    many = 3
    """Two dropouts that stay below the warning threshold each can hardly go far beyond it together."""

    def check(self, subject: Subject) -> Iterator[Finding]:
        met, reported, branches = meetings(subject), _Reported(subject), _branch_dropouts(subject.graph)
        for name, shift in subject.shifts.norms.items():
            if shift.delta is None or not shift.sources:
                continue
            severity = subject.severity(shift.delta)
            if severity is _INFO:
                continue
            alone = subject.severity(met.alone[name]).rank if name in met.alone else -1
            if alone >= severity.rank:
                continue
            if branches and _share(shift, branches) >= 0.5:
                severity = subject.severity_of_branches(shift.delta)
            if severity is _INFO or alone >= severity.rank or reported.share(shift, severity) >= 0.5:
                continue
            distant = met.distant.get(name, 0)
            if distant or len(shift.sources) >= self.many:
                norm, dropout = subject.graph[name], subject.graph[shift.sources[0].dropout]
                harm = inflation(shift.delta, subject.shifts.evidence)
                message = f"batch norm {norm.path!r} {_origin(subject.graph, shift, distant)}: {harm}"
                finding = self.finding(subject, dropout, severity, message, norm=norm, delta=shift.delta)
                yield replace(finding, site=norm.site)


class _Reported(dict[str, int]):
    """By dropout, filled when asked: how severe the worst is that rules about single dropouts report of its line."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self._subject = subject

    def __missing__(self, dropout: str) -> int:
        severity = self._by_line.get(line_of(self._subject.graph[dropout]))
        self[dropout] = -1 if severity is None else severity.rank
        return self[dropout]

    def share(self, shift: NormShift, severity: Severity) -> float:
        """The part of a shift, in [0, 1], that comes from lines with findings at least this serious."""
        least = severity.rank
        return fsum([source.share for source in shift.sources if self[source.dropout] >= least])

    @cached_property
    def _by_line(self) -> dict[Site | str, Severity]:
        return severities(self._subject)


def _branch_dropouts(graph: Graph) -> frozenset[str]:
    """The dropouts of whole branches."""
    return frozenset(node.name for node in graph.of(Dropout) if isinstance(node.op, Dropout) and drops_samples(node.op))


def _share(shift: NormShift, dropouts: frozenset[str]) -> float:
    return fsum(source.share for source in shift.sources if source.dropout in dropouts)


def _origin(graph: Graph, shift: NormShift, distant: int) -> str:
    first = shift.sources[0]
    dropout = graph[first.dropout]
    most = f"{shown(dropout.op)} {dropout.path!r}" if isinstance(dropout.op, Dropout) else repr(dropout.path)
    # Small sources may be left out of a prediction.
    number = graph.noise.number_at(shift.norm, (source.dropout for source in shift.sources))
    if not distant:
        return f"sees the noise of {number} dropouts add up, {first.share:.0%} of it from {most}"
    way = "by way of earlier norms" if distant == len(shift.sources) else "partly by way of earlier norms"
    return f"is shifted {way} by " + (most if number == 1 else f"{number} dropouts, {first.share:.0%} of it by {most}")
