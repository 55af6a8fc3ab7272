"""What the text of a file says: expressions, each standing at one place and compared by identity.

Small classes of our own, so that rules need no parser: ``reader`` makes them from libcst's tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal as OneOf

from dropcheck.graph import Site

if TYPE_CHECKING:
    from dropcheck.syntax.scope import Scope


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


def walk(*roots: Expr) -> Iterator[Expr]:
    """The expressions and all they are made of; the bodies of lambdas are scopes of their own and left out."""
    pending = list(reversed(roots))
    while pending:
        expr = pending.pop()
        yield expr
        pending.extend(reversed(expr.parts))
