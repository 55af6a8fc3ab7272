"""What the text of a file says: its scopes, and in each what is assigned, called, returned, and under which conditions.

Small classes of our own, so that rules need no parser: ``reader`` makes them from libcst's tree. Expressions are
compared by identity, each stands at one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal as OneOf

from dropcheck.graph import Site


@dataclass(eq=False, slots=True)
class Expr:
    """An expression; ``parts`` are the expressions it is made of, in source order."""

    @property
    def parts(self) -> tuple[Expr, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition under which something runs: that ``test`` is true, or false where ``holds`` is False."""

    test: Expr
    holds: bool


Guards = tuple[Guard, ...]


@dataclass(eq=False, slots=True)
class Name(Expr):
    """``order`` counts along the file, as in assignments; ``guards`` are those under which it is read."""

    id: str
    order: int = 0
    guards: Guards = ()


@dataclass(eq=False, slots=True)
class Literal(Expr):
    """A number, string, truth value or None."""

    value: object


@dataclass(eq=False, slots=True)
class Attribute(Expr):
    value: Expr
    attr: str

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.value,)


@dataclass(eq=False, slots=True)
class Argument:
    """``star`` is ``*`` or ``**`` for unpacked arguments."""

    value: Expr
    keyword: str | None = None
    star: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A ``with`` or a loop (comprehensions too) around something; ``over`` is the context manager or the iterable."""

    kind: OneOf["with", "loop"]
    over: Expr | None


@dataclass(eq=False, slots=True)
class Call(Expr):
    """``site`` is that of the whole call, as a captured node has it."""

    function: Expr
    arguments: tuple[Argument, ...]
    site: Site
    scope: Scope
    guards: Guards
    blocks: tuple[Block, ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.function, *(argument.value for argument in self.arguments))

    def argument(self, position: int | None, keyword: str) -> Expr | None:
        """The argument given as ``keyword`` or at ``position``; None if there is none.

        What ``*args`` and ``**kwargs`` may hold is not seen: ask ``unpacks`` first.
        """
        for argument in self.arguments:
            if argument.keyword == keyword:
                return argument.value
        plain = [argument.value for argument in self.arguments if argument.keyword is None]
        return plain[position] if position is not None and position < len(plain) else None

    @property
    def called(self) -> str:
        """The last name of what is called."""
        function = self.function
        return function.attr if isinstance(function, Attribute) else function.id if isinstance(function, Name) else ""

    @property
    def unpacks(self) -> bool:
        return any(argument.star for argument in self.arguments)


@dataclass(eq=False, slots=True)
class Unary(Expr):
    operator: str
    value: Expr

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.value,)


@dataclass(eq=False, slots=True)
class Binary(Expr):
    """Arithmetic or one comparison; ``operator`` as written: ``*``, ``<=``, ``is not``. Only arithmetic has a site."""

    operator: str
    left: Expr
    right: Expr
    site: Site | None = None

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.left, self.right)


@dataclass(eq=False, slots=True)
class Logic(Expr):
    """``and`` or ``or``; a chained comparison is the ``and`` of its links."""

    operator: str
    values: tuple[Expr, ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.values


@dataclass(eq=False, slots=True)
class Choice(Expr):
    """``then if test else otherwise``"""

    then: Expr
    test: Expr
    otherwise: Expr

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.then, self.test, self.otherwise)


@dataclass(eq=False, slots=True)
class Subscript(Expr):
    value: Expr
    index: tuple[Expr, ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.value, *self.index)


@dataclass(eq=False, slots=True)
class Display(Expr):
    """A list, tuple, set or dict as it is written down, or a comprehension of one; a dict's elements are its values."""

    kind: OneOf["list", "tuple", "set", "dict", "generator"]
    elements: tuple[Expr, ...]
    others: tuple[Expr, ...] = ()

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (*self.elements, *self.others)


@dataclass(eq=False, slots=True)
class Lambda(Expr):
    scope: Scope


@dataclass(eq=False, slots=True)
class Other(Expr):
    """Anything else: f-strings, ``await``, slices, starred items."""

    children: tuple[Expr, ...] = ()

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.children


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

    def defined(self, name: str) -> list[Scope]:
        """The functions and classes of that name which are written directly in it."""
        return [scope for scope in self.scopes if scope.name == name]


def walk(*roots: Expr) -> Iterator[Expr]:
    """The expressions and all they are made of; the bodies of lambdas are scopes of their own and left out."""
    pending = list(reversed(roots))
    while pending:
        expr = pending.pop()
        yield expr
        pending.extend(reversed(expr.parts))
