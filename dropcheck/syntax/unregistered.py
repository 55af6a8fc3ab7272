"""Layers with a mode that ``model.eval()`` does not reach, as far as a file's text tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dropcheck.syntax.containers import Unreached, in_plain_containers, on_self
from dropcheck.syntax.scope import Kind, Scope
from dropcheck.syntax.tree import Attribute, Call, Name

if TYPE_CHECKING:
    from dropcheck.syntax.file import SourceFile

_SETS_MODE = frozenset({"train", "eval", "apply", "children", "modules", "named_children", "named_modules", "super"})
_MODE = re.compile(r"(?i)^(is_?)?(mode|train\w*|flag|status|state|on)$")


def layers(file: SourceFile) -> Iterator[Unreached]:
    """Every layer out of reach, in source order within each way of being so."""
    yield from _outside(file)
    for klass in file.classes:
        if file.layers.is_module(klass):
            yield from in_plain_containers(file, klass)
            yield from _cut_off(file, klass)


def _outside(file: SourceFile) -> Iterator[Unreached]:
    """Layers at the top level of the file, or in a class body, that a method calls."""
    for scope in file.said.scopes:
        in_body = scope.kind is Kind.CLASS and file.layers.is_module(scope)
        if scope.kind is not Kind.MODULE and not in_body:
            continue
        for one in scope.assignments:
            value = one.value
            if not isinstance(value, Call) or not isinstance(one.target, Name) or not file.layers.has_mode(value):
                continue
            if _is_called(file, one.target.id, scope):
                where = f"in the body of class {scope.name}" if in_body else "outside of the model"
                message = f"{value.called} is made {where}, and not registered: model.eval() does not reach it"
                yield Unreached(value.site, scope.qualname, value.called, message)


def _is_called(file: SourceFile, name: str, scope: Scope) -> bool:
    """Whether a method of a module calls it by its name, from where evaluation comes by."""
    for call in file.calls:
        function = call.function
        owner = call.scope.owner
        if owner is None or not file.layers.is_module(owner) or not file.running.at(call).always:
            continue
        if scope.kind is Kind.CLASS:
            called = isinstance(function, Attribute) and function.attr == name
            if called and scope in file.names.lineage(owner) and not _is_set(file, scope, name):
                return True
        elif isinstance(function, Name) and function.id == name and file.names.binding(name, call.scope) is scope:
            return True
    return False


def _is_set(file: SourceFile, klass: Scope, attr: str) -> bool:
    return any(isinstance(one.target, Attribute) for one in file.names.stored(klass, attr))


def _cut_off(file: SourceFile, klass: Scope) -> Iterator[Unreached]:
    """A ``train`` or ``eval`` that sets no mode but its own."""
    for name in ("train", "eval"):
        for method in klass.defined(name):
            mode = method.parameters[1:2]
            if name == "train" and (len(method.parameters) > 2 or not mode or not _MODE.match(mode[0].name)):
                continue
            if _sets_modes_elsewhere(klass, method):
                continue
            if layers := _left_out(file, klass, method):
                message = f"{klass.name}.{name}() does not call super().{name}(): model.eval() does not reach {layers}"
                yield Unreached(method.site, method.qualname, name, message)


def _left_out(file: SourceFile, klass: Scope, method: Scope) -> str:
    """The layers that a ``train`` or ``eval`` does not reach, in words; empty if it may reach them all."""
    setting = [call for call in method.calls if call.called in _SETS_MODE]
    if not setting:
        return f"the layers of {klass.name}" if file.layers.holds(klass, file.layers.has_mode) else ""
    reached = set()
    for call in setting:
        layer = call.function.value if isinstance(call.function, Attribute) else call.function
        reached.add(on_self(file, layer, method))
    if "" in reached:
        return ""
    made = (one for scope in file.names.lineage(klass) for inner in scope.scopes for one in inner.assignments)
    kept = {
        on_self(file, one.target, one.scope): None
        for one in made
        if one.value is not None and file.layers.constructors_in(one.value, file.layers.minds_mode)
    }
    return " and ".join(f"self.{attr}" for attr in kept if attr not in ("", *reached))


def _sets_modes_elsewhere(klass: Scope, method: Scope) -> bool:
    """Whether other methods of the class set modes: it is kept frozen, or switched in a way of its own."""
    return any(
        call.called in ("eval", "train") for other in klass.scopes if other is not method for call in other.calls
    )
