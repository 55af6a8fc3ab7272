"""Layers with a mode that a module keeps in plain lists and dicts, which register nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from dropcheck.graph import Site
from dropcheck.syntax.gate import Gate
from dropcheck.syntax.gates import CONSTRUCTORS
from dropcheck.syntax.names import canonical
from dropcheck.syntax.scope import Kind, Scope
from dropcheck.syntax.torch_names import REGISTERING
from dropcheck.syntax.tree import Attribute, Binary, Call, Choice, Display, Expr, Name, Subscript, walk

if TYPE_CHECKING:
    from dropcheck.syntax.file import SourceFile

_REGISTERS = frozenset({"add_module", "register_module", "setattr", "__setattr__"})
_GROWS = frozenset({"append", "extend", "insert", "setdefault", "update", "add"})
_EMPTY = ("list", "dict", "collections.OrderedDict", "tuple", "set", "collections.deque")


@dataclass(frozen=True, slots=True)
class Unreached:
    """What is not reached: where, in which function, and a sentence."""

    site: Site
    inside: str
    called: str
    message: str


def in_plain_containers(file: SourceFile, klass: Scope) -> Iterator[Unreached]:
    """The layers that a class keeps so, unless they are registered in another way."""
    kin = file.names.kin(klass)
    if any(call.called in _REGISTERS for one in kin for call in file.layers.constructed(one)):
        return
    for method in klass.scopes:
        if method.kind is not Kind.FUNCTION:
            continue
        for attr, kept_in, value in _kept(file, method):
            if _is_registered(file, klass, attr) or _minds_mode_itself(kin, attr) or _is_gated(file, klass, attr):
                continue
            made = file.layers.constructors_in(value, file.layers.minds_mode)
            outer = (call for call in made if not _inside_registering(file, value, call))
            for _, line in groupby(outer, lambda call: call.site.line):
                first, *others = line
                called = list(dict.fromkeys(call.called for call in (first, *others)))
                what = f"{' and '.join(called)} in a plain {kept_in}, self.{attr},"
                fault = "is not registered: model.eval() does not reach it"
                if len(called) > 1:
                    fault = "are not registered: model.eval() does not reach them"
                yield Unreached(first.site, method.qualname, attr, f"{what} {fault}")


def _kept(file: SourceFile, method: Scope) -> Iterator[tuple[str, str, Expr]]:
    """What a method puts into plain containers on self: attribute, kind of container, expression."""
    for one in method.assignments:
        attr, value = on_self(file, one.target, method), one.value
        if attr and value is not None:
            for kind, display in _displays(file, value, method):
                yield attr, kind, display
        elif isinstance(one.target, Subscript) and value is not None:
            attr = on_self(file, one.target.value, method)
            if attr and (kind := _plain(file, method, attr)):
                yield attr, kind, value
    for call in method.calls:
        if call.called in _GROWS and isinstance(call.function, Attribute) and call.arguments:
            attr = on_self(file, call.function.value, method)
            if attr and (kind := _plain(file, method, attr)):
                yield from ((attr, kind, one.value) for one in call.arguments)


def on_self(file: SourceFile, target: Expr, method: Scope) -> str:
    """The attribute of ``self`` that an expression in a method is; empty for anything else."""
    is_own = isinstance(target, Attribute) and file.names.instance_of(target.value, method) is not None
    return target.attr if is_own and isinstance(target, Attribute) else ""


def _displays(file: SourceFile, value: Expr, method: Scope) -> Iterator[tuple[str, Expr]]:
    """The plain containers that a value is: written down there, or a local list with all that is put into it."""
    match value:
        case Display(kind=kind) if kind != "generator":
            yield kind, value
        case Choice(then=then, otherwise=otherwise):
            yield from _displays(file, then, method)
            yield from _displays(file, otherwise, method)
        case Binary(operator="*" | "+", left=left):
            yield from _displays(file, left, method)
        case Call(arguments=[first, *_]) if _is_empty_container(file, value):
            yield value.called.lower().removeprefix("ordered"), first.value
        case Name(id=name) if not _is_handed_on(file, method, name):
            for one in method.by_name.get(name, []):
                if isinstance(one.value, Display) and one.value.kind != "generator":
                    yield one.value.kind, one.value
                    for grown in _grown(method, name):
                        yield one.value.kind, grown


def _is_handed_on(file: SourceFile, method: Scope, name: str) -> bool:
    """Whether a local list goes into a registering container."""
    handed = (one.value for call in method.calls if _registers(file, call) for one in call.arguments)
    return any(isinstance(part, Name) and part.id == name for value in handed for part in walk(value))


def _grown(method: Scope, name: str) -> Iterator[Expr]:
    """What is added to a local list or dict."""

    def is_it(expr: Expr) -> bool:
        return isinstance(expr, Name) and expr.id == name

    for call in method.calls:
        if isinstance(call.function, Attribute) and call.function.attr in _GROWS and is_it(call.function.value):
            yield from (one.value for one in call.arguments)
    for one in method.assignments:
        if isinstance(one.target, Subscript) and is_it(one.target.value) and one.value is not None:
            yield one.value


def _is_empty_container(file: SourceFile, call: Call) -> bool:
    return any(name in _EMPTY for name in file.names.dotted(call.function, call.scope))


def _plain(file: SourceFile, method: Scope, attr: str) -> str:
    """``list`` or ``dict`` if that is all that an attribute is ever set to; else empty."""
    owner = method.owner
    kinds: set[str] = set()
    for one in file.names.stored(owner, attr) if owner is not None else ():
        if isinstance(one.value, Display) and one.value.kind != "generator":
            kinds.add(one.value.kind)
        elif isinstance(one.value, Call) and _is_empty_container(file, one.value):
            kinds.add("dict" if one.value.called.lower().endswith("dict") else "list")
        else:
            return ""
    return kinds.pop() if len(kinds) == 1 else ""


def _is_registered(file: SourceFile, klass: Scope, attr: str) -> bool:
    """Whether what is in a container goes into a registering one too, or an attribute is set to one at last."""
    uses = {use.expr for use in file.said.attributes.get(attr, [])}
    for call in file.calls:
        if _registers(file, call) and any(part in uses for one in call.arguments for part in walk(one.value)):
            return True
    values = [one.value for one in file.names.stored(klass, attr)]
    return any(isinstance(value, Call) and _registers(file, value) for value in values)


def _registers(file: SourceFile, call: Call) -> bool:
    named = [canonical(name) for name in file.names.dotted(call.function, call.scope)]
    return any(name in REGISTERING or name.startswith(":") for name in named)


def _inside_registering(file: SourceFile, value: Expr, call: Call) -> bool:
    """Whether a layer in a container is part of a module there, which is reported in its stead."""
    return any(
        isinstance(one, Call) and one is not call and call in walk(one) and file.layers.minds_mode(one)
        for one in walk(value)
    )


def _minds_mode_itself(kin: list[Scope], attr: str) -> bool:
    """Whether a train() or eval() of the class reaches for the container."""
    methods = [method for klass in kin for name in ("train", "eval") for method in klass.defined(name)]
    return any(
        isinstance(part, Attribute) and part.attr == attr
        for method in methods
        for one in method.statements
        for part in walk(one.value)
    )


def _is_gated(file: SourceFile, klass: Scope, attr: str) -> bool:
    """Whether forward gets at the container in training only."""
    uses = [
        use
        for use in file.said.attributes.get(attr, [])
        if use.scope.method is not None and use.scope.method.name not in CONSTRUCTORS
    ]
    return bool(uses) and all(file.running.all_hold(use.guards, use.scope) is Gate.OFF for use in uses)
