"""Where a reader of statements and expressions stands: in which scope, under which conditions, inside which loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import libcst as cst

from dropcheck.graph import Site
from dropcheck.syntax.places import Place
from dropcheck.syntax.scope import Assignment, Scope, Use
from dropcheck.syntax.tree import Block, Display, Expr, Guards, Name, Other


@dataclass(slots=True)
class Cursor:
    """Stands in ``scope``, under ``guards``, inside ``blocks``.

    ``names``, ``attributes`` and ``strings`` collect along the way who reads what in the whole file.
    """

    path: str
    places: Mapping[cst.CSTNode, Place]
    scope: Scope
    guards: Guards = ()
    blocks: tuple[Block, ...] = ()
    names: dict[str, list[Use]] = field(default_factory=dict)
    attributes: dict[str, list[Use]] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)
    order: Iterator[int] = field(default_factory=count)

    @contextmanager
    def under(self, guards: Guards = (), blocks: tuple[Block, ...] = ()) -> Iterator[None]:
        """What is converted inside runs under further conditions."""
        before = self.guards, self.blocks
        self.guards, self.blocks = (*self.guards, *guards), (*self.blocks, *blocks)
        try:
            yield
        finally:
            self.guards, self.blocks = before

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """What is converted inside belongs to another scope; guards and blocks start anew."""
        before = self.scope, self.guards, self.blocks
        self.scope, self.guards, self.blocks = scope, (), ()
        try:
            yield
        finally:
            self.scope, self.guards, self.blocks = before

    def site(self, node: cst.CSTNode) -> Site:
        return Site(self.path, *self.places[node])

    def bind(self, target: Expr, value: Expr | None) -> None:
        """Notes an assignment; several targets of one tuple take the elements of a tuple of equal length."""
        if isinstance(target, Display):
            items: Sequence[Expr | None] = [value if isinstance(value, Other) else None] * len(target.elements)
            if isinstance(value, Display) and len(value.elements) == len(target.elements):
                items = value.elements
            for one, item in zip(target.elements, items, strict=True):
                self.bind(one, item)
            return
        assignment = Assignment(target, value, self.scope, self.guards, next(self.order))
        self.scope.assignments.append(assignment)
        if isinstance(target, Name):
            self.scope.by_name.setdefault(target.id, []).append(assignment)
