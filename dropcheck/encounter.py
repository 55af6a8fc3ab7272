"""Where the noise of dropouts meets norms: what the rules about a Δ have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import NamedTuple

from dropcheck.graph import Node, Site, Way
from dropcheck.ops import Dropout, Granularity
from dropcheck.rule import Severity, Subject, ratio
from dropcheck.shift import Evidence, NormShift


class Encounter(NamedTuple):
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


@dataclass(slots=True)
class Met:
    """The norms of known Δ that one dropout's noise gets to in one way before any other norm.

    ``worst``: the one it shifts most, ``delta``: its Δ there if it were the only dropout, ``shift_ratio`` ≥ 1 the same
    as a ratio; ``number``: of all of them.
    """

    worst: NormShift
    delta: float
    shift_ratio: float
    number: int = 1


@dataclass(frozen=True, slots=True)
class Meetings:
    """All encounters of a model: by way and dropout, and by norm what single dropouts do there.

    ``alone``: by norm, the Δ farthest from 1 that a dropout whose noise meets it causes on its own, for norms that meet
    any; ``distant``: how many sources of a norm's shift get there by way of earlier norms only, for norms with such.
    """

    of: Mapping[Way, Mapping[str, Met]]
    alone: Mapping[str, float]
    distant: Mapping[str, int]


@lru_cache(maxsize=1)
def meetings(subject: Subject) -> Meetings:
    """Every norm of known Δ with each dropout whose noise gets there before any other norm."""
    of: dict[Way, dict[str, Met]] = {way: {} for way in Way}
    alone: dict[str, float] = {}
    distant: dict[str, int] = {}
    for name, shift in subject.shifts.norms.items():
        sources = shift.sources if shift.delta is not None else ()
        ways = subject.graph.noise.ways([source.dropout for source in sources], name)
        worst = 0.0
        for source, way in zip(sources, ways, strict=True):
            if way is None:
                distant[name] = distant.get(name, 0) + 1
                continue
            delta = source.delta
            reached = 1.0 / delta if 0.0 < delta < 1.0 else ratio(delta)  # most are: spares a call for each
            if reached > worst:
                worst, alone[name] = reached, delta
            met = of[way].get(source.dropout)
            if met is None:
                of[way][source.dropout] = Met(shift, delta, reached)
                continue
            met.number += 1
            if reached > met.shift_ratio:
                met.worst, met.delta, met.shift_ratio = shift, delta, reached
    return Meetings(of, alone, distant)


def encounters(subject: Subject, wanted: Callable[[Way], bool], *, of_samples: bool = False) -> Iterator[Encounter]:
    """For every dropout that meets norms in the wanted ways and whose Δ there is known: the worst of them.

    ``of_samples``: only dropouts of whole samples (stochastic depth), otherwise only others. Dropouts of everything
    (a drop rate of 1) are left to the rules about rates.
    """
    graph, evidence = subject.graph, subject.shifts.evidence
    ways = [by_dropout for way, by_dropout in meetings(subject).of.items() if by_dropout and wanted(way)]
    for dropout in graph.of(Dropout) if ways else ():
        drop = dropout.op
        if not isinstance(drop, Dropout) or drops_samples(drop) is not of_samples or drop.drop_rate == 1.0:
            continue
        if found := [by_dropout[dropout.name] for by_dropout in ways if dropout.name in by_dropout]:
            met = max(found, key=lambda one: one.shift_ratio) if len(found) > 1 else found[0]
            total = met.delta if met.worst.delta is None else met.worst.delta
            others = sum(one.number for one in found) - 1
            yield Encounter(dropout, drop, graph[met.worst.norm], met.delta, total, evidence, others)


def severities(subject: Subject) -> dict[Site | str, Severity]:
    """By source line: how serious the worst is that any of its dropouts does on its own to a norm its noise meets."""
    worst: dict[Site | str, Met] = {}
    for by_dropout in meetings(subject).of.values():
        for dropout, met in by_dropout.items():
            line = line_of(subject.graph[dropout])
            if line not in worst or met.shift_ratio > worst[line].shift_ratio:
                worst[line] = met
    return {line: subject.severity(met.delta) for line, met in worst.items()}


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
