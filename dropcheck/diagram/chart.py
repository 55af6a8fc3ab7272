"""What every picture of a graph is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dropcheck.rule import Severity


class Role(StrEnum):
    """What a box is to someone who looks for dropouts and norms."""

    END = "end"
    WEIGHT = "weight"
    DROPOUT = "dropout"
    NORM = "norm"
    OPAQUE = "opaque"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Box:
    """One operation, with the plain ones that follow it alone.

    Attributes:
        title: what it does: ``Conv2d · BatchNorm2d · relu``.
        path: module path of the first operation.
        note: what a reader looks for: ``Δ = 0.53``, ``drop rate 0.1 … 0.3``; empty for most.
        shape: of its result, without the batch: ``64×16×16``; empty where it is unknown.
        severity: of the shift at this norm, or of what this dropout does alone; None below a warning.
    """

    title: str
    path: str
    role: Role
    note: str = ""
    shape: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """What one box reads of another, by their positions; ``severity`` where harmful noise passes here."""

    source: int
    target: int
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """The boxes from ``first`` to ``last`` stand for themselves and for ``times - 1`` further blocks like them."""

    first: int
    last: int
    times: int
    name: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Boxes in execution order, links between them, folds that neither overlap nor nest."""

    title: str
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    folds: tuple[Fold, ...] = ()

    def before(self, position: int) -> tuple[Link, ...]:
        """The links into a box."""
        return tuple(link for link in self.links if link.target == position)
