"""Random choices between two things, which look like masks and drop neither: ``m * a + (1 - m) * b``."""

from __future__ import annotations

from collections.abc import Mapping

from dropcheck.syntax.tree import Attribute, Binary, Call, Expr, Literal, Name, Unary, walk

_CONSTANTS = frozenset(
    {"zeros", "zeros_like", "new_zeros", "tensor", "new_tensor", "as_tensor", "full", "full_like", "new_full"}
)


def is_choice(product: Expr, parents: Mapping[Expr, Expr]) -> bool:
    """Whether what a mask was put on is added to something that the mask's complement was put on."""
    total = parents.get(product)
    if isinstance(total, Binary) and total.operator == "+":
        other = total.right if total.left is product else total.left
        return any(_complete(one, two) for one in _factors(product) for two in _factors(other))
    return _is_picked(product)


def _is_picked(call: Expr) -> bool:
    """``torch.where(m, a, b)``, neither of the two being a constant."""
    if not isinstance(call, Call) or call.called != "where" or len(call.arguments) != 3:
        return False
    return not any(_is_constant(one.value) for one in call.arguments[1:])


def _is_constant(expr: Expr) -> bool:
    """A number, or a tensor made of one: ``-1e9``, ``torch.zeros_like(x)``, ``x.new_tensor(0.0)``."""
    if isinstance(expr, Unary):
        return _is_constant(expr.value)
    return isinstance(expr, Literal) or (isinstance(expr, Call) and expr.called in _CONSTANTS)


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
