"""What makes the value that a function returns, or that a name stands for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# Calls of a module that give back the module.
_SELF_RETURNING = frozenset(
    {"to", "cuda", "cpu", "train", "eval", "double", "float", "half", "bfloat16", "requires_grad_"}
)


def returned(function: ast.FunctionDef) -> Iterator[str]:
    """The dotted names, as written, of the annotation and of what makes the returned value."""
    if function.returns is not None:
        yield from _annotated(function.returns)
    assigned: dict[str, list[ast.expr]] = {}
    results: list[ast.expr] = []
    classes: dict[str, list[ast.expr]] = {}
    for node in _own_nodes(function):
        if isinstance(node, ast.ClassDef):
            classes[node.name] = node.bases
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            results.append(node.value)
    arguments = function.args
    own = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} | assigned.keys()
    for value in results:
        for made in assigned.get(value.id, []) if isinstance(value, ast.Name) else [value]:
            called = made_by(made)
            dotted = "" if called is None else _dotted(called)
            if dotted in classes:  # which nobody else can name: what it derives from tells whether it is a model
                yield from filter(None, map(_dotted, classes[dotted]))
            elif dotted and dotted.partition(".")[0] not in own:
                yield dotted


def _annotated(annotation: ast.expr) -> Iterator[str]:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except (SyntaxError, ValueError):
            return
    dotted = _dotted(annotation)
    if dotted:
        yield dotted


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions and classes inside it."""
    pending: list[ast.AST] = list(reversed(function.body))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            pending += reversed(list(ast.iter_child_nodes(node)))


def made_by(value: ast.expr) -> ast.expr | None:
    """What is called to make a value: ``Net`` in ``Net(3).to(device).eval()``; None where it is not a call."""
    while isinstance(value, ast.Call):
        function = value.func
        if not (isinstance(function, ast.Attribute) and function.attr in _SELF_RETURNING):
            return function
        value = function.value
    return None


def _dotted(expression: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(expression, ast.Attribute):
        parts.append(expression.attr)
        expression = expression.value
    return ".".join([expression.id, *reversed(parts)]) if isinstance(expression, ast.Name) else ""
