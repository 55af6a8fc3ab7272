"""How a constructor uses its parameters, read from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dropcheck.load.use import OF_LISTS, OF_MAPPINGS, OF_STRINGS, OF_TENSORS, Use

_SEQUENCE_CALLS = frozenset({"len", "enumerate", "zip", "sum", "reversed", "list", "tuple", "sorted", "iter"})
_EXTREMES = frozenset({"max", "min"})


def uses_of(function: Callable[..., Any]) -> dict[str, Use]:
    """The use of every parameter; empty where there is no source to read.

    Of a class, what its methods do with what ``__init__`` keeps counts too. Fields of parameters are there under their
    dotted names: ``cfg.width`` for ``cfg.width`` and ``cfg["width"]``.
    """
    reader = _Reader()
    first, *methods = _functions(function)
    tree = parsed(first)
    if tree is None:
        return {}
    reader.visit(tree)
    reader.only_kept = True
    for method in methods:
        if (tree := parsed(method)) is not None:
            reader.visit(tree)
    known = {name: reader.uses.get(name, Use()) for name in inspect.signature(first).parameters}
    return {**reader.uses, **known}


def fields_of(name: str, uses: Mapping[str, Use]) -> dict[str, Use]:
    """The uses of a parameter's own fields, by their names."""
    prefix = f"{name}."
    return {path.removeprefix(prefix): use for path, use in uses.items() if path.startswith(prefix)}


def _functions(made: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    if not inspect.isclass(made):
        yield made
        return
    yield made.__init__
    for one in made.__mro__:
        if not one.__module__.startswith(("torch.", "builtins", "abc", "typing")):
            yield from (
                method for name, method in vars(one).items() if inspect.isfunction(method) and name != "__init__"
            )


def parsed(function: Callable[..., Any]) -> ast.Module | None:
    """The source of a function, None where there is none to read."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


class _Reader(ast.NodeVisitor):
    """``only_kept``: of a method's names only ``self`` means what it means in the constructor."""

    def __init__(self) -> None:
        self.uses: dict[str, Use] = {}
        self.stand_for: dict[str, str] = {}
        self.only_kept = False

    def _path(self, node: ast.AST | None) -> str | None:
        """``cfg.width`` for what stands for it, None for what is no parameter and no field of one."""
        match node:
            case ast.Name(id=name):
                path = self.stand_for.get(name, name)
                return None if self.only_kept and path == name != "self" else path
            case (
                ast.Attribute(value=value, attr=name) | ast.Subscript(value=value, slice=ast.Constant(value=str(name)))
            ):
                base = self._path(value)
                return None if base is None else self.stand_for.get(f"{base}.{name}", f"{base}.{name}")
        return None

    def _of(self, node: ast.AST | None) -> Use | None:
        path = self._path(node)
        return None if path is None else self.uses.setdefault(path, Use())

    def _sequence(self, node: ast.AST | None, length: int = 0) -> None:
        use = self._of(node)
        if use is not None:
            use.is_sequence, use.length = True, max(use.length, length)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if self.only_kept:
            self.stand_for = {name: path for name, path in self.stand_for.items() if name.startswith("self.")}
        for statement in node.body:
            self.visit(statement)

    def visit_Name(self, node: ast.Name) -> None:
        use = self._of(node)
        if use is not None and isinstance(node.ctx, ast.Load):
            use.is_read = True

    def visit_Assign(self, node: ast.Assign) -> None:
        """What is only given another name is the same thing from then on."""
        self.visit(node.value)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple | ast.List):
                if isinstance(node.value, ast.Tuple | ast.List) and len(node.value.elts) == len(target.elts):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                else:
                    self._sequence(node.value, len(target.elts))
            for name, value in pairs:
                path, kept = self._path(value), ast.unparse(name)
                if path is not None and isinstance(name, ast.Name | ast.Attribute):
                    self.stand_for[kept] = path
                elif isinstance(name, ast.Name):
                    self.stand_for.pop(kept, None)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        for side in (node.left, node.right):
            use = self._of(side)
            if use is not None:
                use.is_number = True
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        use = self._of(node.left)
        for operator, other in zip(node.ops, node.comparators, strict=True):
            if use is not None:
                use.texts += [text for text in _strings(other) if text not in use.texts]
                use.is_number = use.is_number or isinstance(operator, ast.Lt | ast.Gt | ast.LtE | ast.GtE)
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.comprehension) -> None:
        self._sequence(node.iter)
        use = self._of(node.iter)
        if use is not None and isinstance(node.target, ast.Tuple) and not use.entries:
            use.entries = [ast.unparse(one) for one in node.target.elts]
        self.generic_visit(node)

    visit_comprehension = visit_For

    def visit_Starred(self, node: ast.Starred) -> None:
        self._sequence(node.value)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        use, index = self._of(node.value), self._of(node.slice)
        if index is not None:
            index.texts += _strings(node.value)
            index.tables += [node.value.id] if isinstance(node.value, ast.Name) else []
        if use is not None and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            use.is_mapping = True
            use.attributes += [node.slice.value] if node.slice.value not in use.attributes else []
            self._read(node)
        elif use is not None:
            use.is_sequence = True
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
                use.length = max(use.length, node.slice.value + 1)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._mark(node.operand, tested=isinstance(node.op, ast.Not))
        self.generic_visit(node)

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self._mark(node.test, tested=True)
        self.generic_visit(node)

    visit_IfExp = visit_If

    def _mark(self, node: ast.expr, *, tested: bool) -> None:
        use = self._of(node)
        if use is not None:
            use.is_tested = use.is_tested or tested
            use.is_number = use.is_number or not tested

    def visit_Attribute(self, node: ast.Attribute) -> None:
        use = self._of(node.value)
        if use is not None and node.attr not in use.attributes:
            use.attributes.append(node.attr)
        self._read(node)
        self.generic_visit(node)

    def _read(self, node: ast.expr) -> None:
        use = self._of(node)
        if use is not None and isinstance(getattr(node, "ctx", None), ast.Load):
            use.is_read = True

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = self._of(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if owner is not None and name in OF_STRINGS | OF_LISTS | OF_MAPPINGS | OF_TENSORS:
            owner.methods.add(name)
            owner.is_mapping = owner.is_mapping or name in OF_MAPPINGS
            if name in ("get", "pop", "setdefault") and node.args:
                owner.optional |= set(_strings(node.args[0]))
            assert isinstance(node.func, ast.Attribute)
            self.visit(node.func.value)
        else:
            called = self._of(node.func)
            if called is not None:
                called.is_run = called.is_run or self.only_kept
                called.is_called = called.is_called or not self.only_kept
            self.visit(node.func)
        if name == "getattr" and len(node.args) > 1 and (use := self._of(node.args[0])) is not None:
            use.optional |= set(_strings(node.args[1]))
        self._arguments(node, name)

    def _arguments(self, node: ast.Call, name: str) -> None:
        places: list[tuple[int | str, ast.expr]] = list(enumerate(node.args))
        places += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg is not None]
        for place, value in places:
            use = self._of(value)
            if use is not None:
                use.arguments[name, place] = None
                one_of_many = name in _EXTREMES and len(node.args) == 1
                use.is_sequence = use.is_sequence or name in _SEQUENCE_CALLS or one_of_many
        for value in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(value)


def _strings(node: ast.AST) -> list[str]:
    """The strings that are written there: one, several in brackets, or the keys of a dict."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return [text for part in parts for text in _strings(part)]
        case ast.Dict(keys=keys):
            return [text for key in keys if key is not None for text in _strings(key)]
    return []
