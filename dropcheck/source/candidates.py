"""What in a file may be a model: classes, functions that return one, instances. Nothing is imported for it."""

from __future__ import annotations

import ast
import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from dropcheck.source.names import WITHOUT_MODELS, Names, names_of
from dropcheck.source.returned import made_by, returned


class Kind(StrEnum):
    """In the order in which they are looked at."""

    INSTANCE = "instance"
    FACTORY = "factory"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something at the top level of a file that may turn out to be a model.

    ``uses``: the other candidates it refers to, however indirectly through names that are none. ``returns``: the
    dotted names, as written, of what a factory may call to make its result, and of its annotation; of a class
    inside the factory, those of its bases.
    """

    name: str
    kind: Kind
    line: int
    uses: frozenset[str] = frozenset()
    returns: tuple[str, ...] = ()


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
        name: tuple(dict.fromkeys(returned(node)))
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
        origin = names.origin(ast.parse(dotted, mode="eval").body) or ""
        local = names.local(origin)
        return local in makers if local is not None else _evidently_makes(origin)

    while new := {name for name in returns.keys() - makers if any(map(makes, returns[name]))}:
        makers |= new
    return makers


def _may_be_instance(name: str, node: ast.Assign | ast.AnnAssign, names: Names, makers: set[str]) -> bool:
    called = None if node.value is None else made_by(node.value)
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
