"""Modules, classes and functions: in each what is assigned, called, returned, and under which conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from dropcheck.graph import Site
from dropcheck.syntax.tree import Call, Expr, Guards, Name


class Kind(StrEnum):
    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    LAMBDA = "lambda"


@dataclass(eq=False, slots=True)
class Parameter:
    name: str
    default: Expr | None = None


@dataclass(eq=False, slots=True)
class Assignment:
    """One binding. ``value`` is None where it is no expression of its own (``with … as``, unpacking).

    That of a loop variable is an :class:`Other` around what is looped over.
    """

    target: Expr
    value: Expr | None
    scope: Scope
    guards: Guards
    order: int


@dataclass(eq=False, slots=True)
class Statement:
    """The expression of a statement; ``kept``: whether its value goes anywhere."""

    value: Expr
    guards: Guards
    kept: bool


@dataclass(eq=False, slots=True)
class Use:
    """A place where a name or attribute is read."""

    expr: Expr
    scope: Scope
    guards: Guards


@dataclass(eq=False, slots=True)
class Scope:
    """A module, class, function or lambda. ``guards`` are those of its definition; the lists are in source order."""

    kind: Kind
    name: str
    parent: Scope | None
    site: Site
    guards: Guards = ()
    parameters: tuple[Parameter, ...] = ()
    decorators: tuple[Expr, ...] = ()
    bases: tuple[Expr, ...] = ()
    imports: dict[str, list[str]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    returns: list[Statement] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    by_name: dict[str, list[Assignment]] = field(default_factory=dict)
    definitions: dict[str, list[Scope]] = field(default_factory=dict)

    @property
    def qualname(self) -> str:
        """``Net.forward``; empty for the module."""
        names = [scope.name for scope in (self, *self.parents) if scope.kind is not Kind.MODULE]
        return ".".join(reversed(names))

    @property
    def parents(self) -> Iterator[Scope]:
        """The scopes around it, from the inside out."""
        scope = self.parent
        while scope is not None:
            yield scope
            scope = scope.parent

    @property
    def owner(self) -> Scope | None:
        """The class it is written in, directly or inside one of its methods."""
        return next((scope for scope in (self, *self.parents) if scope.kind is Kind.CLASS), None)

    @property
    def method(self) -> Scope | None:
        """The method of :attr:`owner` it is or stands in."""
        inside = (self, *self.parents)
        return next((one for one in inside if one.parent is not None and one.parent is self.owner), None)

    @property
    def is_bound(self) -> bool:
        """Whether it is a method whose first parameter is what it is called on."""
        static = any(isinstance(one, Name) and one.id == "staticmethod" for one in self.decorators)
        return self.parent is not None and self.parent.kind is Kind.CLASS and not static

    def defined(self, name: str) -> list[Scope]:
        """The functions and classes of that name which are written directly in it."""
        return self.definitions.get(name, [])

    def add(self, scope: Scope) -> None:
        """Notes what is written directly in it."""
        self.scopes.append(scope)
        self.definitions.setdefault(scope.name, []).append(scope)


@dataclass(eq=False, slots=True)
class Read:
    """All scopes of a file, the module's first; who reads each name, attribute and what strings there are."""

    scopes: tuple[Scope, ...]
    names: dict[str, list[Use]] = field(default_factory=dict)
    attributes: dict[str, list[Use]] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)
