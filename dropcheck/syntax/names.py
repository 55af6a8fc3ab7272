"""What names and attributes stand for: through imports, aliases, partials, and what classes store on themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from dropcheck.syntax.scope import Assignment, Kind, Read, Scope
from dropcheck.syntax.tree import Attribute, Call, Choice, Expr, Lambda, Name

_CUSTOMARY = {"F": "torch.nn.functional", "nn": "torch.nn", "torch": "torch"}
_MODULES = re.compile(r"^torch\.nn\.modules\.(?:\w+\.)?(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What something callable may be: its dotted name, or the function or class of this file.

    ``partial`` is the call of ``functools.partial`` that made it, with the arguments it holds.
    """

    name: str
    local: Scope | None = None
    partial: Call | None = None


class Names:
    """Resolves what the expressions of one file name."""

    def __init__(self, read: Read) -> None:
        self.top = read.scopes[0]
        self.classes = [scope for scope in read.scopes if scope.kind is Kind.CLASS]
        self._read = read
        self._meanings: dict[Expr, list[Meaning]] = {}
        self._lineages: dict[Scope, list[Scope]] = {}

    def of(self, expr: Expr, scope: Scope) -> list[Meaning]:
        """Everything an expression may stand for where it is read in ``scope``; nothing if the text does not say."""
        if expr not in self._meanings:
            self._meanings[expr] = []  # what is defined by itself adds nothing
            self._meanings[expr] = self._of(expr, scope)
        return self._meanings[expr]

    def _of(self, expr: Expr, scope: Scope) -> list[Meaning]:
        match expr:
            case Name(id=name):
                return self._named(name, scope)
            case Attribute(value=value, attr=attr):
                owner = self.instance_of(value, scope)
                if owner is not None:
                    return self._stored(owner, attr)
                known = (one for one in self.of(value, scope) if one.partial is None)
                return [meaning for one in known for meaning in self._member(one, attr)]
            case Choice(then=then, otherwise=otherwise):
                return [*self.of(then, scope), *self.of(otherwise, scope)]
            case Lambda(scope=inner):
                return [Meaning(f":{inner.qualname}", inner)]
            case Call(arguments=[first, *_]) if self.calls(expr, "functools.partial", "partial"):
                return [Meaning(one.name, one.local, expr) for one in self.of(first.value, scope)]
        return []

    def dotted(self, expr: Expr, scope: Scope) -> list[str]:
        """The dotted names among :meth:`of`, those of this file's own definitions with a colon ahead."""
        return [meaning.name for meaning in self.of(expr, scope)]

    def calls(self, call: Expr, *names: str) -> bool:
        """Whether a call may be one of these functions."""
        return isinstance(call, Call) and any(name in names for name in self.dotted(call.function, call.scope))

    def argument(self, call: Call, meaning: Meaning, position: int, keyword: str) -> tuple[Expr, Scope] | None:
        """An argument of a call with the scope it is read in, those that a partial holds included."""
        held = meaning.partial
        if held is None:
            given = call.argument(position, keyword)
        else:
            first = sum(one.keyword is None for one in held.arguments) - 1
            given = call.argument(position - first if position >= first else None, keyword)
        if given is not None:
            return given, call.scope
        stored = None if held is None else held.argument(position + 1, keyword)
        return None if held is None or stored is None else (stored, held.scope)

    def instance_of(self, expr: Expr, scope: Scope) -> Scope | None:
        """The class of which an expression is ``self``."""
        if not isinstance(expr, Name):
            return None
        place = self.binding(expr.id, scope)
        if place is None or place.kind is not Kind.FUNCTION or place.parent is None:
            return None
        if place.parent.kind is not Kind.CLASS or not place.parameters or place.parameters[0].name != expr.id:
            return None
        unbound = any(isinstance(one, Name) and one.id in ("staticmethod", "classmethod") for one in place.decorators)
        return None if unbound else place.parent

    def binding(self, name: str, scope: Scope) -> Scope | None:
        """The scope in which a name read in ``scope`` is bound."""
        for place in (scope, *scope.parents):
            if place.kind is Kind.CLASS and place is not scope:
                continue
            if (
                name in place.by_name
                or name in place.imports
                or place.defined(name)
                or any(one.name == name for one in place.parameters)
            ):
                return place
        return None

    def lineage(self, klass: Scope) -> list[Scope]:
        """A class and its bases as far as they are written in this file."""
        if klass not in self._lineages:
            self._lineages[klass] = [klass]
            for base in klass.bases:
                for meaning in self.of(base, klass.parent or klass):
                    if meaning.local is not None and meaning.local.kind is Kind.CLASS:
                        new = (one for one in self.lineage(meaning.local) if one not in self._lineages[klass])
                        self._lineages[klass].extend(new)
        return self._lineages[klass]

    def foreign_bases(self, klass: Scope) -> list[str]:
        """The dotted names of the bases that this file does not define; ``?`` for what cannot be told."""
        found = []
        for one in self.lineage(klass):
            for base in one.bases:
                meanings = self.of(base, one.parent or one)
                found += (
                    [canonical(meaning.name) for meaning in meanings if meaning.local is None] if meanings else ["?"]
                )
        return found

    def kin(self, klass: Scope) -> list[Scope]:
        """A class, its bases and whatever derives from it in this file."""
        return list(dict.fromkeys([*self.lineage(klass), *self._heirs.get(klass, [])]))

    def stored(self, klass: Scope, attr: str) -> list[Assignment]:
        """Every assignment to ``self.attr`` in a class and its kin, and those to ``attr`` in the class bodies."""
        kin = self.kin(klass)
        on_self = [assignment for one in kin for assignment in self._self_assignments.get((one, attr), [])]
        in_body = [assignment for one in kin for assignment in one.by_name.get(attr, [])]
        return [*in_body, *on_self]

    def methods(self, klass: Scope, name: str) -> list[Scope]:
        """The methods of that name in a class and its kin."""
        return [method for one in self.kin(klass) for method in one.defined(name) if method.kind is Kind.FUNCTION]

    def set_from_outside(self, attr: str) -> bool:
        """Whether the file assigns this attribute to something that is no ``self``."""
        return attr in self._foreign_attributes

    @cached_property
    def _heirs(self) -> dict[Scope, list[Scope]]:
        found: dict[Scope, list[Scope]] = {}
        for one in self.classes:
            for base in self.lineage(one):
                found.setdefault(base, []).append(one)
        return found

    @cached_property
    def _self_assignments(self) -> dict[tuple[Scope, str], list[Assignment]]:
        found: dict[tuple[Scope, str], list[Assignment]] = {}
        for attr, assignment in self._attribute_assignments:
            owner = self.instance_of(assignment.target.parts[0], assignment.scope)
            if owner is not None:
                found.setdefault((owner, attr), []).append(assignment)
        return found

    @cached_property
    def _foreign_attributes(self) -> set[str]:
        return {
            attr
            for attr, one in self._attribute_assignments
            if self.instance_of(one.target.parts[0], one.scope) is None
        }

    @property
    def _attribute_assignments(self) -> Iterator[tuple[str, Assignment]]:
        for scope in self._read.scopes:
            for one in scope.assignments:
                if isinstance(one.target, Attribute):
                    yield one.target.attr, one

    def _named(self, name: str, scope: Scope) -> list[Meaning]:
        place = self.binding(name, scope)
        if place is None:
            starred = [f"{star}.{name}" for star in self.top.stars if star.partition(".")[0] == "torch"]
            return [Meaning(one) for one in starred or [_CUSTOMARY.get(name, name)]]
        found = [Meaning(dotted) for dotted in place.imports.get(name, [])]
        found += [Meaning(f":{one.qualname}", one) for one in place.defined(name)]
        for assignment in place.by_name.get(name, []):
            if assignment.value is not None:
                found += self.of(assignment.value, assignment.scope)
        for parameter in place.parameters:
            if parameter.name == name and parameter.default is not None:
                found += self.of(parameter.default, place.parent or place)
        return found

    def _stored(self, owner: Scope, attr: str) -> list[Meaning]:
        found = [Meaning(f":{one.qualname}", one) for one in self.methods(owner, attr)]
        for assignment in self.stored(owner, attr):
            if assignment.value is not None:
                found += self.of(assignment.value, assignment.scope)
        return found

    def _member(self, one: Meaning, attr: str) -> list[Meaning]:
        if one.local is None:
            return [Meaning(f"{one.name}.{attr}")]
        return [Meaning(f":{inner.qualname}", inner) for inner in one.local.defined(attr)]


def canonical(name: str) -> str:
    """``torch.nn.Dropout`` for ``torch.nn.modules.dropout.Dropout``."""
    return _MODULES.sub("torch.nn.", name)
