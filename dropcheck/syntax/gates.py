"""What an expression is worth once the model is in evaluation mode: off, on, or for others to decide."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dropcheck.syntax.gate import COMPARED_TO_ZERO, OPPOSITE, Gate, conjunction, disjunction, mixture
from dropcheck.syntax.names import Names
from dropcheck.syntax.scope import Assignment, Kind, Scope
from dropcheck.syntax.tree import (
    Attribute,
    Binary,
    Call,
    Choice,
    Display,
    Expr,
    Guard,
    Guards,
    Literal,
    Logic,
    Name,
    Other,
    Subscript,
    Unary,
    walk,
)

_ABOUT_MODE = re.compile(r"(?i)train|eval|infer|test|phase|mode|stage|determinis|sampl|monte|(^|_)mc(_|$)|enabled")
_SAME_AS_ARGUMENT = ("bool", "float", "int", "abs", "max", "torch.tensor", "torch.as_tensor")
_NO_GATES = (
    "isinstance",
    "hasattr",
    "len",
    "callable",
    "issubclass",
    "type",
    "random.random",
    "random.uniform",
    "range",
    "zip",
    "enumerate",
)
CONSTRUCTORS = ("__init__", "__post_init__", "__new__", "__setstate__")
_DEEP = 40


class Gates:
    """Evaluates expressions of one file as they are after ``model.eval()``."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._pending: set[object] = set()

    def parameter(self, scope: Scope, name: str) -> Gate:
        """What a function's parameter is: here, without looking at who calls it."""
        return Gate.FIXED if scope.name in CONSTRUCTORS else Gate.OPEN

    def of(self, expr: Expr, scope: Scope) -> Gate:
        """What ``expr``, read in ``scope``, is worth in evaluation mode."""
        if expr in self._pending or len(self._pending) > _DEEP:
            return Gate.OPEN
        self._pending.add(expr)
        try:
            return self._of(expr, scope)
        finally:
            self._pending.discard(expr)

    def all_hold(self, guards: Iterable[Guard], scope: Scope) -> Gate:
        """Whether every guard lets through what stands behind it."""
        return conjunction(self._holds(guard, scope) for guard in guards)

    def _holds(self, guard: Guard, scope: Scope) -> Gate:
        gate = self.of(guard.test, scope)
        return gate if guard.holds else OPPOSITE[gate]

    def _of(self, expr: Expr, scope: Scope) -> Gate:
        match expr:
            case Literal(value=value):
                return Gate.ON if value else Gate.OFF
            case Name():
                return self._name(expr, scope)
            case Attribute():
                return self._attribute(expr, scope)
            case Call():
                return self._call(expr, scope)
            case Unary(operator=operator, value=value):
                gate = self.of(value, scope)
                return OPPOSITE[gate] if operator == "not" else gate
            case Logic(operator=operator, values=values):
                gates = [self.of(value, scope) for value in values]
                return conjunction(gates) if operator == "and" else disjunction(gates)
            case Choice(test=test, then=then, otherwise=otherwise):
                return self._choice(self.of(test, scope), self.of(then, scope), self.of(otherwise, scope))
            case Binary():
                return self._binary(expr, scope)
            case Subscript(value=value, index=index):
                return self._subscript(value, index, scope)
            case Display(elements=children) | Other(children=children):
                return mixture([self.of(one, scope) for one in children]) if children else Gate.FIXED
        return Gate.OPEN

    def _choice(self, test: Gate, then: Gate, otherwise: Gate) -> Gate:
        if test is Gate.OFF:
            return otherwise
        if test is Gate.ON or then is otherwise:
            return then
        return Gate.OPEN if test is Gate.OPEN else mixture([then, otherwise])

    # Names -----------------------------------------------------------------------------------------------------

    def _name(self, name: Name, scope: Scope) -> Gate:
        place = self.names.binding(name.id, scope)
        if place is None or place.imports.get(name.id):
            return Gate.OPEN if _ABOUT_MODE.search(name.id) else Gate.FIXED
        state = None
        if any(one.name == name.id for one in place.parameters):
            state = self.parameter(place, name.id)
        assignments = place.by_name.get(name.id, [])
        if place is scope:
            assignments = [one for one in assignments if one.order < name.order] or assignments
        if place.kind is Kind.MODULE and _ABOUT_MODE.search(name.id):
            return Gate.OPEN
        return self._assigned(assignments, name.guards if place is scope else (), state) or Gate.OPEN

    def _assigned(self, assignments: Iterable[Assignment], under: Guards, state: Gate | None) -> Gate | None:
        """What a variable is worth after assignments that run one after the other, as seen from under guards."""
        for one in assignments:
            common = sum(1 for _ in _common(one.guards, under))
            runs = self.all_hold(one.guards[common:], one.scope)
            if runs is Gate.OFF:
                continue
            value = Gate.OPEN if one.value is None else self.of(one.value, one.scope)
            state = value if runs is Gate.ON or state is None else self._choice(runs, value, state)
        return state

    # Attributes ------------------------------------------------------------------------------------------------

    def _attribute(self, expr: Attribute, scope: Scope) -> Gate:
        owner = self.names.instance_of(expr.value, scope)
        if expr.attr == "training":
            # A constructor always finds the flag on, and what it makes of it stays.
            frozen = owner is not None and scope.kind is Kind.FUNCTION and scope.name in CONSTRUCTORS
            return Gate.ON if frozen else Gate.OFF
        if owner is not None:
            return self.attribute(owner, expr.attr)
        return Gate.OPEN if _ABOUT_MODE.search(expr.attr) else Gate.FIXED

    def attribute(self, owner: Scope, attr: str) -> Gate:
        """What ``self.attr`` is worth in a class: a property, or what the file assigns to it."""
        methods = self.names.methods(owner, attr)
        if methods:
            return mixture([self.returned(method) for method in methods])
        if self.names.set_from_outside(attr):
            return Gate.OPEN
        built: list[Gate] = []
        later: list[Gate] = []
        for one in self.names.stored(owner, attr):
            value = Gate.OPEN if one.value is None else self._choice_of(one)
            method = one.scope.method
            (built if method is None or method.name in CONSTRUCTORS else later).append(value)
        if not built and not later:
            return Gate.OPEN
        if any(not value.always for value in later):
            return Gate.OFF if all(value is Gate.OFF for value in (*built, *later)) else Gate.OPEN
        return mixture([*built, *later])

    def _choice_of(self, one: Assignment) -> Gate:
        assert one.value is not None
        runs = self.all_hold(one.guards, one.scope)
        return Gate.OFF if runs is Gate.OFF else self.of(one.value, one.scope)

    def returned(self, function: Scope) -> Gate:
        """What a function gives back."""
        values = []
        for one in function.returns:
            runs = self.all_hold(one.guards, function)
            if runs is not Gate.OFF:
                values.append(self.of(one.value, function))
            if runs is Gate.ON:
                break
        return mixture(values) if values else Gate.OFF

    # Operators -------------------------------------------------------------------------------------------------

    def _binary(self, expr: Binary, scope: Scope) -> Gate:
        left, right = self.of(expr.left, scope), self.of(expr.right, scope)
        if expr.operator in ("*", "@", "&"):
            return conjunction((left, right), Gate.FIXED)
        if expr.operator in ("/", "//", "%", "**", "<<", ">>"):
            return left
        if expr.operator in ("is", "is not", "==", "!=", "<", "<=", ">", ">=", "in", "not in"):
            return self._comparison(expr, left, right)
        return mixture([left, right]) if left is right is Gate.OFF or Gate.OFF not in (left, right) else Gate.OPEN

    def _comparison(self, expr: Binary, left: Gate, right: Gate) -> Gate:
        """Comparisons are no gates, unless they ask for the mode, or whether what is off in evaluation is zero."""
        if not isinstance(expr.right, Literal):
            return Gate.OPEN if _speaks_of_mode(expr) else Gate.FIXED
        constant = expr.right.value
        if isinstance(constant, str):
            return Gate.OPEN if _ABOUT_MODE.search(constant) or _speaks_of_mode(expr.left) else Gate.FIXED
        if left is Gate.OFF and constant is not None:
            truth = COMPARED_TO_ZERO.get(expr.operator)
            return Gate.OPEN if truth is None else Gate.ON if truth(constant) else Gate.OFF
        asks_truth = isinstance(constant, bool) and expr.operator in ("is", "==")
        return left if asks_truth and constant is True else OPPOSITE[left] if asks_truth else Gate.FIXED

    def _subscript(self, value: Expr, index: tuple[Expr, ...], scope: Scope) -> Gate:
        keys = [one.value for one in index if isinstance(one, Literal) and isinstance(one.value, str)]
        return Gate.OPEN if any(map(_ABOUT_MODE.search, keys)) else mixture([self.of(value, scope), Gate.FIXED])

    # Calls -----------------------------------------------------------------------------------------------------

    def _call(self, call: Call, scope: Scope) -> Gate:
        for meaning in self.names.of(call.function, scope):
            if meaning.local is not None and meaning.local.kind is not Kind.CLASS:
                return self.returned(meaning.local)
            if meaning.name == "getattr" and len(call.arguments) > 1:
                subject, key = call.arguments[0].value, call.arguments[1].value
                if isinstance(key, Literal) and isinstance(key.value, str):
                    return self._attribute(Attribute(subject, key.value), scope)
            if meaning.name in _SAME_AS_ARGUMENT and call.arguments:
                return mixture([self.of(one.value, scope) for one in call.arguments])
            if meaning.name in _NO_GATES or meaning.name.startswith(("numpy.random.", "torch.rand")):
                return Gate.FIXED
        if isinstance(call.function, Attribute) and not _ABOUT_MODE.search(call.function.attr):
            texts = [one.value.value for one in call.arguments if isinstance(one.value, Literal)]
            if self.names.instance_of(call.function.value, scope) is None:
                return (
                    Gate.OPEN
                    if any(_ABOUT_MODE.search(text) for text in texts if isinstance(text, str))
                    else Gate.FIXED
                )
        return Gate.OPEN


def _speaks_of_mode(expr: Expr) -> bool:
    names = (
        one.attr if isinstance(one, Attribute) else one.id for one in walk(expr) if isinstance(one, Name | Attribute)
    )
    return any(map(_ABOUT_MODE.search, names))


def _common(guards: Guards, under: Guards) -> Iterable[Guard]:
    for one, other in zip(guards, under, strict=False):
        if one.test is not other.test or one.holds is not other.holds:
            return
        yield one
