"""Random choices between two things, which look like masks and drop neither: ``m * a + (1 - m) * b``."""

from __future__ import annotations

from collections.abc import Mapping

from dropcheck.syntax.tree import Attribute, Binary, Call, Expr, Literal, Name, Unary, walk

_CONSTANTS = frozenset(
    {"zeros", "zeros_like", "new_zeros", "tensor", "new_tensor", "as_tensor", "full", "full_like", "new_full", "float"}
)
_LEAST_LOGIT = 1e3
_ARGUMENTS = {"where": 3, "masked_fill": 2, "masked_fill_": 2}


def is_choice(product: Expr, parents: Mapping[Expr, Expr]) -> bool:
    """Whether what a mask was put on is added to something that the mask's complement was put on."""
    total = parents.get(product)
    if isinstance(total, Binary) and total.operator == "+":
        other = total.right if total.left is product else total.left
        return any(_complete(one, two) for one in _factors(product) for two in _factors(other))
    return _is_picked(product)


def _is_picked(call: Expr) -> bool:
    """``torch.where(m, a, b)`` and ``a.masked_fill(m, b)``, neither of the two leaving nothing of the other."""
    if not isinstance(call, Call) or len(call.arguments) != _ARGUMENTS.get(call.called):
        return False
    return not any(_is_nothing(one.value) for one in call.arguments[1:])


def _is_nothing(expr: Expr) -> bool:
    """Zero or the logit of nothing: ``0.0``, ``-1e9``, ``torch.zeros_like(x)``; no token's or label's number."""
    match expr:
        case Unary(operator="-", value=Literal(value=int() | float() as number)):
            return abs(number) >= _LEAST_LOGIT
        case Unary(operator="-", value=value):
            return _is_nothing(value)
        case Literal(value=int() | float() as number):
            return number <= 0
        case Attribute(attr=attr):
            return attr in ("inf", "min")
        case Call():
            return expr.called in _CONSTANTS
    return isinstance(expr, Literal)


def _factors(expr: Expr) -> list[Expr]:
    if isinstance(expr, Binary) and expr.operator == "*":
        return [*_factors(expr.left), *_factors(expr.right)]
    return [expr]


def _complete(one: Expr, other: Expr) -> bool:
    """Whether one is what the other leaves of 1, as ``1 - m``, ``~m`` and ``m.logical_not()`` do."""
    names, others = _names(one), _names(other)
    return names == others != frozenset() and _is_complement(one) != _is_complement(other)


def _is_complement(expr: Expr) -> bool:
    return any(
        (isinstance(part, Binary) and part.operator == "-" and isinstance(part.left, Literal))
        or (isinstance(part, Unary) and part.operator == "~")
        or (isinstance(part, Call) and part.called in ("logical_not", "bitwise_not"))
        for part in walk(expr)
    )


def _names(expr: Expr) -> frozenset[str]:
    """The variables and attributes it is made of."""
    called = {part.function for part in walk(expr) if isinstance(part, Call)}
    made_of = [part for part in walk(expr) if part not in called]
    names = frozenset(part.id for part in made_of if isinstance(part, Name))
    return names | {f".{part.attr}" for part in made_of if isinstance(part, Attribute)}
