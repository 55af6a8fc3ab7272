"""What in a file may be a model: classes, functions that return one, instances. Nothing is imported for it."""

from __future__ import annotations

import ast
import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from dropcheck.source.names import WITHOUT_MODELS, Names, names_of


class Kind(StrEnum):
    """In the order in which they are looked at."""

    INSTANCE = "instance"
    FACTORY = "factory"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something at the top level of a file that may turn out to be a model.

    ``uses``: the other candidates it refers to, however indirectly through names that are none. ``returns``: the
    dotted names, as written, of what a factory may call to make its result, and of its annotation.
    """

    name: str
    kind: Kind
    line: int
    uses: frozenset[str] = frozenset()
    returns: tuple[str, ...] = ()


# Calls of a module that give back the module.
_SELF_RETURNING = frozenset(
    {"to", "cuda", "cpu", "train", "eval", "double", "float", "half", "bfloat16", "requires_grad_"}
)
_NO_MODULES = ("torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.nn.Parameter", "torch.nn.parameter")
_FACTORIES = (
    *("torch.hub.load", "torchvision.models.", "timm.create_model", "timm.models."),
    *("torch.compile", "torch.jit.script", "torch.jit.trace", "torch.jit.load", "torch.fx.symbolic_trace"),
)
_CALLED_LIKE_A_MODEL = re.compile(r"(?i)(.*_)?(model|net|network|backbone|encoder|decoder|classifier)\d*")


def find_candidates(tree: ast.Module) -> tuple[Candidate, ...]:
    """Every candidate of a parsed file, in source order. A file without one cannot hold a model.

    What the text cannot exclude is a candidate; whether it is a model the live object decides.
    """
    names = names_of(tree)
    modules = _modules(names)
    returns = {
        name: tuple(dict.fromkeys(_returned(node)))
        for name, node in names.defined.items()
        if isinstance(node, ast.FunctionDef)
    }
    makers = _makers(names, modules, returns)
    found = [Candidate(name, Kind.CLASS, names.defined[name].lineno) for name in modules]
    found += [
        Candidate(name, Kind.FACTORY, names.defined[name].lineno, returns=returns[name])
        for name in returns
        if name in makers
    ]
    found += [
        Candidate(name, Kind.INSTANCE, node.lineno)
        for name, node in names.defined.items()
        if isinstance(node, ast.Assign | ast.AnnAssign) and _may_be_instance(name, node, names, makers)
    ]
    references = _References(names, frozenset(candidate.name for candidate in found))
    found.sort(key=lambda one: one.line)
    return tuple(replace(one, uses=references.of(one.name)) for one in found)


def in_order(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Users before what they use; among equals instances, then factories, then classes, each in source order."""
    waiting = {candidate.name: candidate for candidate in candidates}
    users = {name: {one.name for one in waiting.values() if name in one.uses} - {name} for name in waiting}
    order = list(Kind)

    def key(name: str) -> tuple[int, int, str]:
        return order.index(waiting[name].kind), waiting[name].line, name

    ready = [key(name) for name in waiting if not users[name]]
    heapq.heapify(ready)
    result: list[Candidate] = []
    while waiting:
        # Where all that is left uses each other in a circle, the first one breaks it.
        name = heapq.heappop(ready)[2] if ready else min(map(key, waiting))[2]
        done = waiting.pop(name)
        result.append(done)
        for used in done.uses & waiting.keys():
            users[used].discard(name)
            if not users[used]:
                heapq.heappush(ready, key(used))
    return tuple(result)


def _modules(names: Names) -> set[str]:
    """The classes that may derive from nn.Module."""
    bases = {
        name: [names.origin(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
        for name, node in names.defined.items()
        if isinstance(node, ast.ClassDef)
    }
    modules: set[str] = set()

    def derives(origin: str | None) -> bool:
        local = None if origin is None else names.local(origin)
        if local in bases:
            return local in modules
        return origin is None or local is not None or _may_hold_modules(origin)

    while new := {name for name in bases.keys() - modules if any(map(derives, bases[name]))}:
        modules |= new
    return modules


def _makers(names: Names, modules: set[str], returns: dict[str, tuple[str, ...]]) -> set[str]:
    """The classes, and the functions whose result, that may be modules."""
    makers = set(modules)

    def makes(dotted: str) -> bool:
        origin = names.origin(_expression(dotted)) or ""
        local = names.local(origin)
        return local in makers if local is not None else _evidently_makes(origin)

    while new := {name for name in returns.keys() - makers if any(map(makes, returns[name]))}:
        makers |= new
    return makers


def _may_be_instance(name: str, node: ast.Assign | ast.AnnAssign, names: Names, makers: set[str]) -> bool:
    called = None if node.value is None else _made_by(node.value)
    origin = None if called is None else names.origin(called)
    if origin is None:
        return False
    local = names.local(origin)
    if local is not None:
        return local in makers
    return _evidently_makes(origin) or (_may_hold_modules(origin) and _CALLED_LIKE_A_MODEL.fullmatch(name) is not None)


def _may_hold_modules(origin: str) -> bool:
    """Whether something so called, defined elsewhere, may be a module or its class."""
    top = origin.partition(".")[0]
    if top == "torch":
        return origin.startswith(("torch.nn.", "torch.jit.", "torch.fx.")) and not origin.startswith(_NO_MODULES)
    return top != "builtins" and top not in WITHOUT_MODELS


def _evidently_makes(origin: str) -> bool:
    """Whether calling it probably gives a module: it is a class, or one of the functions known for that."""
    if origin.startswith(_FACTORIES):
        return True
    return _may_hold_modules(origin) and any(part[:1].isupper() for part in origin.split(".")[1:])


def _returned(function: ast.FunctionDef) -> Iterator[str]:
    """The dotted names, as written, of the annotation and of what makes the returned value."""
    if function.returns is not None:
        yield from _annotated(function.returns)
    assigned: dict[str, list[ast.expr]] = {}
    returned: list[ast.expr] = []
    for node in _own_nodes(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            returned.append(node.value)
    arguments = function.args
    own = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} | assigned.keys()
    for value in returned:
        for made in assigned.get(value.id, []) if isinstance(value, ast.Name) else [value]:
            called = _made_by(made)
            dotted = "" if called is None else _dotted(called)
            if dotted and dotted.partition(".")[0] not in own:
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


def _made_by(value: ast.expr) -> ast.expr | None:
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


def _expression(dotted: str) -> ast.expr:
    return ast.parse(dotted, mode="eval").body


class _References:
    """Which candidates a definition refers to, through names that are none."""

    def __init__(self, names: Names, candidates: frozenset[str]) -> None:
        self.candidates = candidates
        self.direct = {
            name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in names.defined}
            for name, node in names.defined.items()
        }

    def of(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        pending, passed = list(self.direct[name]), {name}
        while pending:
            used = pending.pop()
            if used in passed:
                continue
            passed.add(used)
            if used in self.candidates:
                found.add(used)
            else:
                pending += self.direct[used]
        return frozenset(found)
