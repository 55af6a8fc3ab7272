"""How a constructor uses its parameters, read from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_SEQUENCE_CALLS = frozenset(
    {"len", "enumerate", "zip", "sum", "reversed", "list", "tuple", "sorted", "max", "min", "iter"}
)
_NO_CONFIG = frozenset({"expansion"})


@dataclass(slots=True)
class Use:
    """What is done with one parameter.

    ``is_number``: it is calculated with. ``length``: one more than the largest number it is indexed with.
    ``attributes`` are read from it. ``arguments``: which argument of which callable it becomes, as in
    ``("Conv2d", 0)`` or ``("Dropout", "p")``.
    """

    is_read: bool = False
    is_number: bool = False
    is_sequence: bool = False
    is_called: bool = False
    length: int = 0
    attributes: list[str] = field(default_factory=list)
    arguments: set[tuple[str, int | str]] = field(default_factory=set)

    @property
    def is_configuration(self) -> bool:
        """Whether it is an object whose fields are read."""
        return bool(set(self.attributes) - _NO_CONFIG) and not self.is_called


def uses_of(function: Callable[..., Any]) -> dict[str, Use]:
    """The use of every parameter; empty where there is no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    reader = _Reader()
    reader.visit(tree)
    return {name: reader.uses.get(name, Use()) for name in inspect.signature(function).parameters}


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.uses: dict[str, Use] = {}

    def _of(self, node: ast.AST | None) -> Use | None:
        return self.uses.setdefault(node.id, Use()) if isinstance(node, ast.Name) else None

    def _sequence(self, node: ast.AST | None) -> None:
        use = self._of(node)
        if use is not None:
            use.is_sequence = True

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.uses.setdefault(node.id, Use()).is_read = True

    def visit_BinOp(self, node: ast.BinOp) -> None:
        for side in (node.left, node.right):
            use = self._of(side)
            if use is not None:
                use.is_number = True
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._sequence(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._sequence(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._sequence(node.value)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        use = self._of(node.value)
        if use is not None:
            use.is_sequence = True
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
                use.length = max(use.length, node.slice.value + 1)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        use = self._of(node.value)
        if use is not None and node.attr not in use.attributes:
            use.attributes.append(node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = self._of(node.func)
        if called is not None:
            called.is_called = True
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        places: list[tuple[int | str, ast.expr]] = list(enumerate(node.args))
        places += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg is not None]
        for place, value in places:
            use = self._of(value)
            if use is not None:
                use.arguments.add((name, place))
                use.is_sequence = use.is_sequence or name in _SEQUENCE_CALLS - {"max", "min"}
                use.is_sequence = use.is_sequence or (name in ("max", "min") and len(node.args) == 1)
        self.generic_visit(node)
