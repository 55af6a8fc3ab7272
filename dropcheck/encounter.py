"""Where the noise of dropouts meets norms: what the rules about a Δ have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from operator import attrgetter
from typing import NamedTuple

from dropcheck.graph import Node, Site, Way
from dropcheck.ops import Dropout, Granularity
from dropcheck.rule import Severity, Subject, ratio
from dropcheck.shift import Evidence, NormShift

_SAMPLE = Granularity.SAMPLE


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
    noise = subject.graph.noise
    of: dict[Way, dict[str, Met]] = {way: {} for way in Way}
    alone: dict[str, float] = {}
    distant: dict[str, int] = {}
    for name, shift in subject.shifts.norms.items():
        sources = shift.sources if shift.delta is not None else ()
        ways = noise.ways([source.dropout for source in sources], name) if sources else ()
        worst = 0.0
        for source, way in zip(sources, ways, strict=True):
            if way is None:
                distant[name] = distant.get(name, 0) + 1
                continue
            dropout, delta = source.dropout, source.delta
            reached = 1.0 / delta if 0.0 < delta < 1.0 else ratio(delta)  # most are: spares a call for each
            if reached > worst:
                worst, alone[name] = reached, delta
            by_dropout = of[way]
            if dropout not in by_dropout:
                by_dropout[dropout] = Met(shift, delta, reached)
                continue
            met = by_dropout[dropout]
            met.number += 1
            if reached > met.shift_ratio:
                met.worst, met.delta, met.shift_ratio = shift, delta, reached
    return Meetings(of, alone, distant)


def encounters(subject: Subject, *wanted: Way, of_samples: bool = False) -> Sequence[Encounter]:
    """For every dropout that meets norms in the wanted ways (default: any), its Δ there known: the worst of them.

    ``of_samples``: only dropouts of whole samples (stochastic depth), otherwise only others. Dropouts of everything
    (a drop rate of 1) are left to the rules about rates.
    """
    ways = tuple(way for way, met in meetings(subject).of.items() if met and (not wanted or way in wanted))
    return _worst(subject, ways, of_samples) if ways else ()


@lru_cache(maxsize=4)
def _worst(subject: Subject, ways: tuple[Way, ...], of_samples: bool) -> Sequence[Encounter]:
    """:func:`encounters` in ways that there are: most networks know one, and several rules ask for it."""
    graph, evidence = subject.graph, subject.shifts.evidence
    known = meetings(subject).of
    met_by_dropout = [known[way] for way in ways]
    worst: list[Encounter] = []
    for dropout in graph.of(Dropout):
        drop = dropout.op
        if not isinstance(drop, Dropout) or (drop.granularity is _SAMPLE) is not of_samples or drop.drop_rate == 1.0:
            continue
        if found := [met[dropout.name] for met in met_by_dropout if dropout.name in met]:
            one = max(found, key=attrgetter("shift_ratio")) if len(found) > 1 else found[0]
            total = one.delta if one.worst.delta is None else one.worst.delta
            others = sum([each.number for each in found]) - 1
            worst.append(Encounter(dropout, drop, graph[one.worst.norm], one.delta, total, evidence, others))
    return worst


def severities(subject: Subject) -> dict[Site | str, Severity]:
    """By source line: how serious the worst is that any of its dropouts does on its own to a norm its noise meets."""
    worst: dict[Site | str, Met] = {}
    for by_dropout in meetings(subject).of.values():
        for dropout, met in by_dropout.items():
            line = line_of(subject.graph[dropout])
            known = worst.get(line)
            if known is None or met.shift_ratio > known.shift_ratio:
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
    return f"{drop.kind}({_shown_rate(drop.drop_rate)})"


@lru_cache(maxsize=256)
def _shown_rate(rate: float) -> str:
    rounded = f"{rate:.2f}"
    return rounded if abs(float(rounded) - rate) < 1e-9 else f"{rate:.3g}"


def drops_samples(drop: Dropout) -> bool:
    return drop.granularity is _SAMPLE
