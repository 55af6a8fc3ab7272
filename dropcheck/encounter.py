"""Where the noise of dropouts meets norms: what the rules about a Δ have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from dropcheck.graph import Node, Passage, Site
from dropcheck.ops import Dropout, Granularity
from dropcheck.rule import Severity, Subject, ratio
from dropcheck.shift import Evidence, NormShift, Source


@dataclass(frozen=True, slots=True)
class Encounter:
    """The worst norm that the noise of one dropout meets.

    Attributes:
        delta: Δ = Var_test / Var_train at the norm if this were the only dropout.
        total: Δ there with all dropouts.
        evidence: what both rest on.
        others: how many more norms it meets in the same way.
    """

    dropout: Node
    drop: Dropout
    norm: Node
    delta: float
    total: float
    evidence: Evidence
    others: int

    @property
    def noise(self) -> str:
        """``Dropout(0.50)``"""
        return shown(self.drop)

    @property
    def target(self) -> str:
        """``batch norm 'bn2' (and 3 more)``"""
        return f"batch norm {self.norm.path!r}" + (f" (and {self.others} more)" if self.others else "")

    @property
    def harm(self) -> str:
        return inflation(self.delta, self.evidence)


def meetings(subject: Subject) -> Iterator[tuple[NormShift, Source, Passage]]:
    """Every norm of known Δ with each dropout whose noise gets there before any other norm, and what it passes."""
    for shift in subject.shifts.norms.values():
        for source in shift.sources if shift.delta is not None else ():
            passage = subject.graph.passages(subject.graph[source.dropout]).get(shift.norm)
            if passage is not None:
                yield shift, source, passage


def encounters(subject: Subject, wanted: Callable[[Passage], bool], *, of_samples: bool = False) -> Iterator[Encounter]:
    """For every dropout that meets norms in the wanted way and whose Δ there is known: the worst of them.

    ``of_samples``: only dropouts of whole samples (stochastic depth), otherwise only others. Dropouts of everything
    (a drop rate of 1) are left to the rules about rates.
    """
    met: dict[str, list[tuple[float, NormShift]]] = {}
    for shift, source, passage in meetings(subject):
        if wanted(passage):
            met.setdefault(source.dropout, []).append((source.delta, shift))
    for dropout in subject.graph.of(Dropout):
        drop = dropout.op
        if dropout.name not in met or not isinstance(drop, Dropout):
            continue
        if drop.drop_rate == 1.0 or drops_samples(drop) is not of_samples:
            continue
        delta, shift = max(met[dropout.name], key=lambda one: ratio(one[0]))
        total = delta if shift.delta is None else shift.delta
        norm, evidence, others = subject.graph[shift.norm], subject.shifts.evidence, len(met[dropout.name]) - 1
        yield Encounter(dropout, drop, norm, delta, total, evidence, others)


def severities(subject: Subject) -> dict[Site | str, Severity]:
    """By source line: how serious the worst is that any of its dropouts does on its own to a norm its noise meets."""
    worst: dict[Site | str, Severity] = {}
    for _, source, _ in meetings(subject):
        line, severity = line_of(subject.graph[source.dropout]), subject.severity(source.delta)
        worst[line] = max(worst.get(line, severity), severity, key=lambda one: one.rank)
    return worst


def line_of(node: Node) -> Site | str:
    """What the instances of one source line have in common: their site, without one the node's own name."""
    return node.name if node.site is None else node.site


def inflation(delta: float, evidence: Evidence) -> str:
    """``its running variance will be 2.00x what evaluation sees (Δ = 0.50)``; ``is`` where the weights are known."""
    factor = 1.0 / delta if delta > 0.0 else inf
    verb = "will be" if evidence is Evidence.PRIOR else "is"
    return f"its running variance {verb} {factor:.2f}x what evaluation sees (Δ = {delta:.2f})"


def shown(drop: Dropout) -> str:
    """A dropout with its rate to two decimals, more if it has more: ``Dropout(0.50)``, ``DropPath(0.0333)``."""
    rounded = f"{drop.drop_rate:.2f}"
    return f"{drop.kind}({rounded if abs(float(rounded) - drop.drop_rate) < 1e-9 else f'{drop.drop_rate:.3g}'})"


def drops_samples(drop: Dropout) -> bool:
    return drop.granularity is Granularity.SAMPLE
