"""Dropout written by hand: random numbers made into a mask, and the mask put on something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dropcheck.graph import Site
from dropcheck.syntax.gate import Gate
from dropcheck.syntax.mixing import is_choice
from dropcheck.syntax.scope import Assignment, Scope, Statement
from dropcheck.syntax.tree import Attribute, Binary, Call, Choice, Expr, Literal, Name, Subscript, Unary, walk

if TYPE_CHECKING:
    from dropcheck.syntax.file import SourceFile

DRAWN = r"rand|bernoulli|Bernoulli|binomial|uniform_"
"""What a text mentions that draws at random."""

_UNIFORM = re.compile(r"^(torch|numpy\.random)\.(rand|rand_like|random|random_sample|uniform)$")
_BERNOULLI = re.compile(r"(^torch\.bernoulli|^numpy\.random\.binomial)$")
_DISTRIBUTION = re.compile(r"^torch\.distributions\.([\w.]+\.)?Bernoulli$")
_RATE = re.compile(r"(?i)(^|_)(p|q)(_|$)|keep|drop|prob(?!s)|rate|ratio|frac|thresh|retain|survival")
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "lt", "le", "gt", "ge"})
_ROUNDINGS = frozenset({"floor", "floor_", "int", "bool", "trunc", "round", "long", "byte"})
_FILLED = frozenset({"full", "full_like", "new_full", "ones", "ones_like", "new_ones", "fill_", "fill"})
_RESHAPING = frozenset(
    (
        *("to", "float", "type", "type_as", "bool", "int", "long", "half", "double", "byte", "astype", "numpy"),
        *("view", "view_as", "reshape", "unsqueeze", "unsqueeze_", "squeeze", "expand", "expand_as", "broadcast_to"),
        *("repeat", "transpose", "permute", "cuda", "cpu", "contiguous", "detach", "clone", "requires_grad_"),
        *("Variable", "tensor", "as_tensor", "from_numpy", "FloatTensor", "logical_not"),
    )
)
_APPLYING = frozenset({"mul", "mul_", "multiply", "masked_fill", "masked_fill_", "where", "masked_select", "einsum"})
_SCALING = frozenset({"div", "div_", "mul", "mul_", "true_divide"})
_DEEP = 24


@dataclass(frozen=True, slots=True)
class Mask:
    """A random draw, and where the mask made of it is put on something."""

    draw: Call
    applied: Site | None


def masks(file: SourceFile) -> Iterator[Mask]:
    """The masks that are drawn and put on something in evaluation mode too."""
    for call in file.calls:
        state = _drawn(file, call)
        if state is not None and file.running.at(call).always:
            found = _Follow(file).up(call, call.scope, state)
            if found is not None:
                yield Mask(call, found.site if isinstance(found, Binary | Call) else None)


def _drawn(file: SourceFile, call: Call) -> str | None:
    """``uniform`` numbers, a ``mask`` of zeros and ones, or None for what draws neither."""
    function = call.function
    names = file.names.dotted(function, call.scope)
    if any(map(_UNIFORM.match, names)):
        return "uniform"
    if any(map(_BERNOULLI.match, names)) and call.arguments:
        rate = call.argument(1, "p") if "numpy" in names[0] else call.arguments[0].value
        return "mask" if rate is not None and is_rate(file, rate, call.scope) else None
    if isinstance(function, Attribute):
        given = call.argument(0, "p")
        if function.attr == "uniform_":
            return "uniform"
        if function.attr == "bernoulli_":
            return "mask" if given is None or is_rate(file, given, call.scope) else None
        made = function.value
        if function.attr in ("sample", "rsample") and isinstance(made, Call) and made.arguments:
            named = file.names.dotted(made.function, call.scope)
            fixed = is_rate(file, made.arguments[0].value, call.scope)
            return "mask" if fixed and any(map(_DISTRIBUTION.match, named)) else None
    return None


def is_rate(file: SourceFile, expr: Expr, scope: Scope, deep: int = 0) -> bool:
    """Whether an expression is a drop or keep rate set by configuration: no activation, nothing the mode changes."""
    if any(isinstance(one, Attribute) and one.attr == "training" for one in walk(expr)) or deep > 6:
        return False
    match expr:
        case Literal(value=value):
            return isinstance(value, int | float)
        case Unary(value=value):
            return is_rate(file, value, scope, deep + 1)
        case Binary(left=left, right=right):
            return is_rate(file, left, scope, deep + 1) and is_rate(file, right, scope, deep + 1)
        case Attribute(attr=attr):
            return _RATE.search(attr) is not None and file.running.of(expr, scope).always
        case Name(id=name):
            place = file.names.binding(name, scope)
            made = [] if place is None else place.by_name.get(name, [])
            values = [one.value for one in made if place is not scope or one.order < expr.order]
            if values and place is not None:
                return all(one is not None and is_rate(file, one, place, deep + 1) for one in values)
            return _RATE.search(name) is not None and file.running.of(expr, scope).always
        case Call(function=function):
            return _is_filled(file, function, expr, scope, deep)
    return False


def _is_filled(file: SourceFile, function: Expr, call: Call, scope: Scope, deep: int) -> bool:
    """A tensor of rates: ``torch.full(shape, keep)``, ``torch.ones_like(x).mul(keep)``, ``float(p)``."""
    named = call.called
    if named in _FILLED:
        return True
    if named in ("float", "tensor", "as_tensor") and call.arguments:
        return is_rate(file, call.arguments[0].value, scope, deep + 1)
    if isinstance(function, Attribute) and named in (_RESHAPING | _SCALING):
        return is_rate(file, function.value, scope, deep + 1)
    return False


class _Follow:
    """Follows a random draw upwards through expressions, variables and returns to where it is put on something."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.seen: set[Expr] = set()

    def up(self, expr: Expr, scope: Scope, state: str) -> Expr | None:
        """The product, if there is one; ``state`` is ``uniform``, ``shifted`` (keep rate added) or ``mask``."""
        if expr in self.seen or len(self.seen) > _DEEP:
            return None
        self.seen.add(expr)
        parents, tops = _parents(scope)
        while True:
            parent = parents.get(expr)
            if parent is None:
                return self.onwards(expr, scope, state, tops)
            step = self.step(expr, parent, parents, scope, state)
            if step is None:
                return None
            expr, state = step
            if state == "applied":
                return None if is_choice(expr, parents) else expr

    def step(
        self, expr: Expr, parent: Expr, parents: dict[Expr, Expr], scope: Scope, state: str
    ) -> tuple[Expr, str] | None:
        """What becomes of it one level up: the expression there with its state, None for what is no mask."""
        match parent:
            case Choice() | Unary():
                return parent, state
            case Binary(operator=operator, left=left, right=right):
                return self.operated(parent, operator, right if expr is left else left, scope, state)
            case Attribute(attr=attr) if isinstance(parents.get(parent), Call):
                call = parents[parent]
                assert isinstance(call, Call)
                other = call.arguments[0].value if call.arguments else None
                return self.method(call, attr, other, scope, state)
            case Call(function=function, arguments=arguments):
                named = function.attr if isinstance(function, Attribute) else ""
                receiver = function.value if isinstance(function, Attribute) else None
                others = [one.value for one in arguments if one.value is not expr]
                is_method = receiver is not None and self.file.names.dotted(receiver, scope) not in (
                    ["torch"],
                    ["numpy"],
                )
                other = receiver if is_method and named in _APPLYING else others[0] if others else None
                return self.method(parent, parent.called, other, scope, state)
            case Subscript(value=value):
                return (parent, state) if value is expr else (parent, "applied") if state == "mask" else None
        return None

    def operated(self, parent: Binary, operator: str, other: Expr, scope: Scope, state: str) -> tuple[Expr, str] | None:
        fixed = is_rate(self.file, other, scope)
        if operator in _COMPARISONS:
            return (parent, "mask") if state == "uniform" and fixed else (parent, state) if state == "mask" else None
        if operator == "+" and state == "uniform" and fixed:
            return parent, "shifted"
        if operator in ("+", "-", "/", "//") and state == "mask" and (fixed or operator != "+"):
            return parent, state
        if operator == "*" and state == "mask":
            return (parent, state) if fixed else (parent, "applied")
        return None

    def method(self, call: Call, named: str, other: Expr | None, scope: Scope, state: str) -> tuple[Expr, str] | None:
        fixed = other is not None and is_rate(self.file, other, scope)
        if named in _ROUNDINGS and state == "shifted":
            return call, "mask"
        if named in _COMPARISONS and state == "uniform" and fixed:
            return call, "mask"
        if named in ("add", "add_") and state == "uniform" and fixed:
            return call, "shifted"
        if named in _RESHAPING or (state == "mask" and named in _SCALING and fixed):
            return call, state
        if state == "mask" and named in _APPLYING and other is not None:
            return call, "applied"
        return None

    # From one expression to the next ---------------------------------------------------------------------------

    def onwards(
        self, expr: Expr, scope: Scope, state: str, tops: dict[Expr, list[Assignment | Statement]]
    ) -> Expr | None:
        """Through the variable or attribute it is stored in, or to the callers of a function that returns it."""
        for holder in tops.get(expr, []):
            stored = self.stored(holder.target, scope, state) if isinstance(holder, Assignment) else None
            found = self.returned(scope, state) if isinstance(holder, Statement) else stored
            if found is not None:
                return found
        if isinstance(expr, Call) and isinstance(expr.function, Attribute) and expr.function.attr.endswith("_"):
            return self.stored(expr.function.value, scope, state)  # filled in place
        return None

    def stored(self, target: Expr, scope: Scope, state: str) -> Expr | None:
        read = self.file.said
        uses = read.names.get(target.id, []) if isinstance(target, Name) else []
        uses = [use for use in uses if self.file.names.binding(use.expr.id, use.scope) is scope]  # type: ignore[attr-defined]
        if isinstance(target, Attribute):
            uses = [use for use in read.attributes.get(target.attr, []) if use.scope.owner is scope.owner]
        for use in uses:
            if self.file.running.all_hold(use.guards, use.scope) in (Gate.ON, Gate.FIXED):
                found = self.up(use.expr, use.scope, state)
                if found is not None:
                    return found
        return None

    def returned(self, scope: Scope, state: str) -> Expr | None:
        for call in self.file.running.callers(scope):
            if self.file.running.at(call).always:
                found = self.up(call, call.scope, state)
                if found is not None:
                    return found
        return None


def _parents(scope: Scope) -> tuple[dict[Expr, Expr], dict[Expr, list[Assignment | Statement]]]:
    """For all expressions of a scope the one around it, and for whole ones what is done with them."""
    parents: dict[Expr, Expr] = {}
    tops: dict[Expr, list[Assignment | Statement]] = {}
    for one in scope.assignments:
        if one.value is not None:
            tops.setdefault(one.value, []).append(one)
    for result in scope.returns:
        tops.setdefault(result.value, []).append(result)
    targets = [one.target for one in scope.assignments]
    for statement in (*(one.value for one in scope.statements), *targets):
        for expr in walk(statement):
            for part in expr.parts:
                parents[part] = expr
    return parents, tops
