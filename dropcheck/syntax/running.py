"""What still runs when the model is evaluated: conditions around a call, and who calls the function it stands in."""

from __future__ import annotations

import re
from functools import cached_property

from dropcheck.syntax.gate import Gate, conjunction
from dropcheck.syntax.gates import CONSTRUCTORS, Gates
from dropcheck.syntax.layers import Layers
from dropcheck.syntax.names import Names
from dropcheck.syntax.scope import Kind, Read, Scope, Use
from dropcheck.syntax.tree import Attribute, Call, Expr, Guards, Lambda, Literal, Name

_ENTRY = re.compile(r"forward|__call__$|__getattr__$|(encode|decode|predict|generate|infer|sample|embed|extract)")
_TRAINING_ONLY = re.compile(
    r"(?i)(^|_)(train|training|fit|loss|losses|augment\w*|corrupt\w*|noise|noising|collate\w*|pretrain\w*|optimi[sz]e)(_|$)"
)
_AUGMENTING = re.compile(r"(?i)augment|spec_?aug|transform$|erasing|cut_?out$|jitter|masking$|^random(?!\w*drop)")
_SETTING_UP = re.compile(r"(?i)^_*(init|reset|build|make|create|load|register|configure|setup|from)(_|$)")
_SCRIPTS = re.compile(r"(?i)^_*(test|bench\w*|main|demo|example\w*|run|check|plot|profile|debug|verify)(_|$)")


class Running(Gates):
    """Says of calls and functions of one file whether they run in evaluation mode."""

    def __init__(self, read: Read, names: Names, layers: Layers) -> None:
        super().__init__(names)
        self.read, self.layers = read, layers
        self._reached: dict[Scope, Gate] = {}
        self._parameters: dict[tuple[Scope, str], Gate] = {}

    def at(self, call: Call) -> Gate:
        """Whether a call is made in evaluation mode. OFF as well where no model's forward ever leads to it."""
        return self.under(call.guards, call.scope)

    def under(self, guards: Guards, scope: Scope) -> Gate:
        """The same for anything that stands under ``guards`` in ``scope``."""
        return conjunction((self.all_hold(guards, scope), self.reached(scope)))

    def reached(self, scope: Scope) -> Gate:
        """Whether a function's body runs in evaluation mode."""
        if scope not in self._reached:
            self._reached[scope] = Gate.OPEN  # what calls itself is decided by its other callers
            self._reached[scope] = self._reach(scope)
        return self._reached[scope]

    def _reach(self, scope: Scope) -> Gate:
        if scope.kind is Kind.MODULE:
            return Gate.OFF
        if scope.kind is Kind.CLASS:
            return Gate.OFF
        assert scope.parent is not None
        if scope.parent.kind is Kind.CLASS:
            return self._method(scope, scope.parent)
        uses = self.uses(scope)
        if scope.parent.kind is Kind.MODULE and not uses:
            return self._helper(scope)
        if not uses:  # a lambda that is handed on, a function that is returned
            around = self.reached(scope.parent)
            return (
                Gate.ON
                if self._is_set_up(scope.parent)
                else conjunction((around, self.all_hold(scope.guards, scope.parent)))
            )
        return _either([self._used(use) for use in uses])

    def _used(self, use: Use) -> Gate:
        """A function that a constructor hands on may be called at any time."""
        gate = self.all_hold(use.guards, use.scope)
        return gate if self._is_set_up(use.scope) else conjunction((gate, self.reached(use.scope)))

    def _is_set_up(self, scope: Scope) -> bool:
        method = scope.method
        return method is not None and scope.kind is Kind.FUNCTION and method.name in CONSTRUCTORS

    def _method(self, scope: Scope, owner: Scope) -> Gate:
        is_module = self.layers.is_module(owner)
        if is_module is False and not self._used_by_a_module(owner):
            return Gate.OFF
        if self._augments(owner):
            return Gate.OFF
        if scope.name in CONSTRUCTORS or _SETTING_UP.match(scope.name) or _TRAINING_ONLY.search(scope.name):
            return Gate.OFF
        uses = [use for use in self.uses(scope) if use.scope is not scope]
        if _ENTRY.match(scope.name) or not uses:
            return Gate.ON
        return _either([self._used(use) for use in uses])

    def _augments(self, owner: Scope) -> bool:
        """Whether a class speaks of augmenting data and holds no layers: whoever feeds the model calls it."""
        first = owner.statements[0].value if owner.statements else None
        said = first.value if isinstance(first, Literal) else ""
        if not _AUGMENTING.search(owner.name) and "augment" not in str(said).lower():
            return False
        made = (kind for call in self.layers.constructed(owner) for kind in self.layers.kinds(call))
        return not any(kind.startswith("torch.nn.") and kind.rpartition(".")[2][:1].isupper() for kind in made)

    def _used_by_a_module(self, owner: Scope) -> bool:
        users = (use.scope.owner for use in self.read.names.get(owner.name, []))
        return any(user is not None and user is not owner and self.layers.is_module(user) for user in users)

    def _helper(self, scope: Scope) -> Gate:
        """A function that nobody in the file calls: others may, unless its name speaks against it."""
        named = _SCRIPTS.match(scope.name) or _TRAINING_ONLY.search(scope.name) or _SETTING_UP.match(scope.name)
        return Gate.OFF if named or not scope.parameters else Gate.ON

    # Callers ---------------------------------------------------------------------------------------------------

    def uses(self, scope: Scope) -> list[Use]:
        """Where a function is called or handed on, by the names it goes by. Recursion does not count."""
        known, attributes = self._aliases(scope)
        found = [use for name in known for use in self.read.names.get(name, []) if self._means(use, scope, name)]
        found += [use for attr in attributes for use in self.read.attributes.get(attr, [])]
        return [use for use in found if scope not in (use.scope, *use.scope.parents)]

    def _means(self, use: Use, scope: Scope, name: str) -> bool:
        return self.names.binding(name, use.scope) is scope.parent

    def _aliases(self, scope: Scope) -> tuple[list[str], list[str]]:
        """The names and the attributes under which a function is stored."""
        assert scope.parent is not None
        is_method = scope.parent.kind is Kind.CLASS
        names = [scope.name] if scope.kind is Kind.FUNCTION and not is_method else []
        attributes = [scope.name] if is_method else []
        for one in scope.parent.assignments:
            value = one.value
            same = (isinstance(value, Lambda) and value.scope is scope) or (
                isinstance(value, Name) and value.id == scope.name and scope.kind is Kind.FUNCTION
            )
            if same and isinstance(one.target, Name):
                names.append(one.target.id)
            elif same and isinstance(one.target, Attribute):
                attributes.append(one.target.attr)
        # Stored on self, it is called from there: that it is read once for being stored is no call.
        return ([] if attributes else names), attributes

    def parameter(self, scope: Scope, name: str) -> Gate:
        key = (scope, name)
        if key not in self._parameters:
            self._parameters[key] = Gate.OPEN
            self._parameters[key] = self._parameter(scope, name)
        return self._parameters[key]

    def _parameter(self, scope: Scope, name: str) -> Gate:
        if scope.name in CONSTRUCTORS:
            return Gate.FIXED
        position = next(index for index, one in enumerate(scope.parameters) if one.name == name)
        method = scope.parent is not None and scope.parent.kind is Kind.CLASS
        if method and scope.name == "train" and position == 1:
            return Gate.OFF
        if method and _ENTRY.match(scope.name):
            return Gate.OPEN
        handed = [self._argument(call, scope, name, position - scope.is_bound) for call in self.callers(scope)]
        gates = [gate for gate in handed if gate is not None]
        return _either(gates) if gates else Gate.OPEN

    def _argument(self, call: Call, scope: Scope, name: str, position: int) -> Gate | None:
        """What one caller hands over, None if it does not run in evaluation mode."""
        if self.all_hold(call.guards, call.scope) is Gate.OFF:
            return None
        given = call.argument(position, name)
        if given is not None:
            return self.of(given, call.scope)
        default = next((one.default for one in scope.parameters if one.name == name), None)
        if call.unpacks or default is None or scope.parent is None:
            return Gate.OPEN
        return self.of(default, scope.parent)

    def callers(self, scope: Scope) -> list[Call]:
        """The calls of a function that this file makes."""
        used = {use.expr for use in self.uses(scope)}
        return [call for function, call in self._calls.items() if function in used]

    @cached_property
    def _calls(self) -> dict[Expr, Call]:
        return {call.function: call for scope in self.read.scopes for call in scope.calls}


def _either(gates: list[Gate]) -> Gate:
    """Several callers: one that never asks for the mode is enough."""
    return next((gate for gate in (Gate.ON, Gate.FIXED, Gate.OPEN) if gate in gates), Gate.OFF)
