"""Dropouts that a residual branch has in the wrong place, and the shift they would cause in the right one.

Kim et al. 2023, guideline 1: one dropout per residual branch, behind its last batch norm and ahead of its last weight
layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dropcheck.branches import Branch, branches, moved
from dropcheck.encounter import Encounter, encounters, line_of
from dropcheck.graph import WEIGHT_LAYERS, Graph, Node, Site
from dropcheck.ops import BatchNorm
from dropcheck.rule import Subject, ratio
from dropcheck.shift import Evidence, NormShift, predict, predict_changed


class Lone(NamedTuple):
    """The only dropout of a residual branch.

    Attributes:
        layer: the branch's last weight layer, ahead of which the dropout belongs.
        previous: the last weight layer of the branch ahead of the dropout, if there is one.
        norm: the last batch norm ahead of that layer that remembers; None if the branch has none there.
        next_norm: the first batch norm of the branch behind the dropout that remembers.
        is_behind: whether it stands behind the last weight layer.
        in_place: whether it stands ahead of that layer with no batch norm between.
    """

    branch: Branch
    dropout: Node
    layer: Node
    previous: Node | None
    norm: Node | None
    next_norm: Node | None
    is_behind: bool
    in_place: bool

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
        gain: ``between 'bn2' and its last weight layer 'conv2' it would be 0.97``: Δ at the first norm that sees the
            noise if the dropout is moved. Computed for the worst dropout of a source line; of the others, the place.
        better: whether the worst dropout of its line is better off there, by as much as messages show.
    """

    lone: Lone
    met: Encounter
    gain: str
    better: bool


@lru_cache(maxsize=1)
def lone_dropouts(graph: Graph) -> tuple[Lone, ...]:
    """The dropouts of single units or channels that have a residual branch for themselves."""
    found = (_lone(branch) for branch in branches(graph))
    return tuple(lone for lone in found if lone is not None)


@lru_cache(maxsize=1)
def moves(subject: Subject) -> tuple[Move, ...]:
    """The lone dropouts that are out of place and shift a batch norm by as much as messages show."""
    return tuple(_moves(subject))


def _moves(subject: Subject) -> Iterator[Move]:
    misplaced = [lone for lone in lone_dropouts(subject.graph) if not lone.in_place]
    met = met_by_dropout(subject) if misplaced else {}
    lines: dict[Site | str, list[tuple[Lone, Encounter]]] = {}
    for lone in misplaced:
        here = met.get(lone.dropout.name)
        if here is not None and shows(here.delta):
            lines.setdefault(line_of(lone.dropout), []).append((lone, here))
    worst = [max(line, key=lambda one: ratio(one[1].delta)) for line in lines.values()]
    there = _in_place(subject.graph, [lone for lone, _ in worst])
    for (representative, hardest), line in zip(worst, lines.values(), strict=True):
        name = representative.dropout.name
        at = hardest.delta
        if hardest.evidence is not Evidence.PRIOR:
            at = _alone(predict(subject.graph).norms[hardest.norm.name], name)
        better = round(ratio(there[name]), 2) < round(ratio(at), 2)
        by_code = "" if hardest.evidence is Evidence.PRIOR else f"go, by the code alone, from {at:.2f} to "
        for lone, here in line:
            would = f"it would {by_code or 'be '}{there[name]:.2f}"
            gain = f"{lone.place} {would}" if lone is representative else f"it belongs {lone.place}"
            yield Move(lone, here, gain, better)


@lru_cache(maxsize=1)
def met_by_dropout(subject: Subject) -> Mapping[str, Encounter]:
    """The worst norm that each dropout of units or channels meets, by the dropout's name."""
    return {met.dropout.name: met for met in encounters(subject)}


def shows(delta: float) -> bool:
    """Whether Δ differs from 1 by as much as messages show."""
    return round(ratio(delta), 2) > 1.0


def _lone(branch: Branch) -> Lone | None:
    dropouts, spine = branch.dropouts, branch.spine
    layer = branch.last_layer if len(dropouts) == 1 else None
    if layer is None:
        return None
    dropout, previous, norm, next_norm = dropouts[0], None, None, None
    dropped = is_behind = in_place = behind_layer = False
    for node in spine:
        if node is dropout:
            dropped, is_behind = True, behind_layer
            continue
        if node is layer:
            behind_layer, in_place = True, dropped and next_norm is None
        if isinstance(node.op, WEIGHT_LAYERS):
            previous = previous if dropped else node
        elif isinstance(node.op, BatchNorm) and node.remembers:
            norm = norm if behind_layer else node
            next_norm = node if dropped and next_norm is None else next_norm
    return Lone(branch, dropout, layer, previous, norm, next_norm, is_behind, in_place)


def _in_place(graph: Graph, lones: list[Lone]) -> Mapping[str, float]:
    """Δ at the first norm that sees the noise of these dropouts if they stand where they belong, by their names."""
    first = {lone.dropout.name: graph.noise.first_norm_behind(lone.layer.name) for lone in lones}
    end = max((graph.positions[norm.name] + 1 for norm in first.values() if norm is not None), default=0)
    after = moved(graph, {lone.dropout.name: lone.layer.name for lone in lones}, end)
    norms = predict_changed(graph, after) if end else {}
    return {name: 1.0 if norm is None else _alone(norms[norm.name], name) for name, norm in first.items()}


def _alone(shift: NormShift, dropout: str) -> float:
    """The Δ that the dropout causes at the norm on its own."""
    return next((source.delta for source in shift.sources if source.dropout == dropout), 1.0)
