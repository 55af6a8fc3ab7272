"""Dropouts that a residual branch has in the wrong place, and the shift they would cause in the right one.

Kim et al. 2023, guideline 1: one dropout per residual branch, behind its last batch norm and ahead of its last weight
layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dropcheck.branches import Branch, branches, moved
from dropcheck.encounter import Encounter, encounters
from dropcheck.graph import Graph, Node
from dropcheck.rule import Subject, ratio
from dropcheck.shift import Evidence, Shifts, predict


@dataclass(frozen=True, slots=True)
class Lone:
    """The only dropout of a residual branch.

    Attributes:
        layer: the branch's last weight layer, ahead of which the dropout belongs.
        norm: the last batch norm ahead of that layer that remembers; None if the branch has none there.
    """

    branch: Branch
    dropout: Node
    layer: Node
    norm: Node | None

    @property
    def is_behind(self) -> bool:
        """Whether it stands behind the last weight layer."""
        return self.dropout in self.branch.behind(self.layer)

    @property
    def next_norm(self) -> Node | None:
        """The first batch norm of the branch behind the dropout that remembers."""
        return next((node for node in self.branch.behind(self.dropout) if node.remembers), None)

    @property
    def in_place(self) -> bool:
        """Whether it stands ahead of the last weight layer with no batch norm between."""
        return not self.is_behind and not any(
            node.remembers for node in self.branch.behind(self.dropout) if node in self.branch.ahead_of(self.layer)
        )

    @property
    def place(self) -> str:
        """``between 'bn2' and its last weight layer 'conv2'``: where it belongs."""
        layer = f"its last weight layer {self.layer.path!r}"
        return f"ahead of {layer}" if self.norm is None else f"between {self.norm.path!r} and {layer}"


@dataclass(frozen=True, slots=True)
class Move:
    """A lone dropout that stands elsewhere than where guideline 1 puts it, and causes a shift there.

    Attributes:
        met: the worst norm its noise meets where it stands.
        here: the worst Δ it causes where it stands, as the code alone has it.
        there: the same in the place of the guideline.
    """

    lone: Lone
    met: Encounter
    here: float
    there: float

    @property
    def better(self) -> bool:
        """Whether Δ would be closer to 1 in the guideline's place, by as much as messages show."""
        return round(ratio(self.there), 2) < round(ratio(self.here), 2)

    @property
    def gain(self) -> str:
        """``between 'bn2' and its last weight layer 'conv2' it would be 0.97``: Δ if the dropout were moved."""
        if self.met.evidence is Evidence.PRIOR:
            return f"{self.lone.place} it would be {self.there:.2f}"
        return f"{self.lone.place} it would go, by the code alone, from {self.here:.2f} to {self.there:.2f}"


def lone_dropouts(graph: Graph) -> Iterator[Lone]:
    """The dropouts of single units or channels that have a residual branch for themselves."""
    for branch in branches(graph):
        layer, dropouts = branch.last_layer, branch.dropouts
        if layer is not None and len(dropouts) == 1:
            norms = [node for node in branch.ahead_of(layer) if node.remembers]
            yield Lone(branch, dropouts[0], layer, norms[-1] if norms else None)


def moves(subject: Subject) -> Iterator[Move]:
    """The lone dropouts that are out of place and shift a batch norm by as much as messages show."""
    misplaced = [lone for lone in lone_dropouts(subject.graph) if not lone.in_place]
    met = met_by_dropout(subject) if misplaced else {}
    harmful = [lone for lone in misplaced if lone.dropout.name in met and shows(met[lone.dropout.name].delta)]
    if not harmful:
        return
    here = worst(subject.shifts if subject.shifts.evidence is Evidence.PRIOR else predict(subject.graph))
    there = _worst_in_place(subject.graph)
    for lone in harmful:
        name = lone.dropout.name
        yield Move(lone, met[name], here.get(name, 1.0), there.get(name, 1.0))


def met_by_dropout(subject: Subject) -> dict[str, Encounter]:
    """The worst norm that each dropout of units or channels meets, by the dropout's name."""
    return {met.dropout.name: met for met in encounters(subject, lambda passage: True)}


def worst(shifts: Shifts) -> dict[str, float]:
    """The Δ farthest from 1 that each dropout causes on its own, by its name."""
    deltas: dict[str, float] = {}
    for norm in shifts.norms.values():
        for source in norm.sources:
            deltas[source.dropout] = max(deltas.get(source.dropout, 1.0), source.delta, key=ratio)
    return deltas


@lru_cache(maxsize=1)
def _worst_in_place(graph: Graph) -> dict[str, float]:
    """The worst Δ of each lone dropout if all of them stood ahead of their branch's last weight layer."""
    places = {lone.dropout.name: lone.layer.name for lone in lone_dropouts(graph) if not lone.in_place}
    return worst(predict(moved(graph, places)))


def shows(delta: float) -> bool:
    """Whether Δ differs from 1 by as much as messages show."""
    return round(ratio(delta), 2) > 1.0
