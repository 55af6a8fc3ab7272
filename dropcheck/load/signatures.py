"""The parameters of a class or function, those included that it hands on in ``**kwargs``."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from dropcheck.load.usage import parsed, uses_of
from dropcheck.load.use import Use

_DEEPEST = 5
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class _Receiver:
    """A constructor or function that is handed ``**kwargs`` (``rest``), or the constructor of a base.

    ``places`` and ``names`` are the arguments it is given besides: the parameter that each is, "" for anything else.
    """

    made: Callable[..., Any]
    within: Any
    places: Sequence[str]
    names: Mapping[str, str]
    rest: bool

    @property
    def given(self) -> dict[str, str]:
        """What each of its own parameters is given."""
        first = [name for name, one in own_signature(self.made).parameters.items() if one.kind in _NAMED]
        return {**dict(zip(first, self.places, strict=False)), **self.names}


def signature_of(make: Callable[..., Any], within: Any = None, depth: int = 0) -> inspect.Signature:
    """The signature of ``make``; what the receivers of its ``**kwargs`` take is there by keyword.

    Empty for what has none. ``within``: the class on whose objects the constructor of the class ``make`` is called.
    """
    own = own_signature(make)
    parameters = dict(own.parameters)
    open_end = _open_end(own)
    if open_end is None or depth == _DEEPEST:
        return own
    last = parameters.pop(open_end)
    for receiver in _receivers(make, within or make):
        theirs = signature_of(receiver.made, receiver.within, depth + 1).parameters if receiver.rest else {}
        for name, one in theirs.items():
            if one.kind in _NAMED and name not in receiver.given and name != open_end:
                parameters.setdefault(name, one.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    return own.replace(parameters=[*parameters.values(), last])


def own_signature(make: Callable[..., Any]) -> inspect.Signature:
    """The signature as it is written; empty for what has none."""
    try:
        return inspect.signature(make)
    except (ValueError, TypeError):
        return inspect.Signature()


def uses_in(make: Callable[..., Any], within: Any = None, depth: int = 0) -> dict[str, Use]:
    """The use of every parameter of :func:`signature_of`, by the constructors of bases too."""
    uses = uses_of(make)
    for receiver in _receivers(make, within or make) if depth < _DEEPEST else ():
        for path, use in uses_in(receiver.made, receiver.within, depth + 1).items():
            theirs, dot, field = path.partition(".")
            ours = receiver.given.get(theirs, theirs if receiver.rest else "")
            if ours:
                uses.setdefault(f"{ours}{dot}{field}", Use()).add(use)
    return uses


def _open_end(signature: inspect.Signature) -> str | None:
    return next((one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD), None)


def _receivers(make: Callable[..., Any], within: Any) -> Iterator[_Receiver]:
    function: Any = make.__init__ if inspect.isclass(make) else make
    parameters, open_end = own_signature(make).parameters, _open_end(own_signature(make))
    for node in ast.walk(parsed(function) or ast.Module([], [])):
        if not isinstance(node, ast.Call):
            continue
        rest = open_end is not None and any(one.arg is None and _name(one.value) == open_end for one in node.keywords)
        upwards = _is_init(node.func) and _is_super(node.func)
        if not rest and not _is_init(node.func):
            continue
        known = getattr(inspect.unwrap(function), "__globals__", {})
        made = _next_constructor(make, within) if upwards else _named(node.func, known)
        if made is not None:
            places = [_name(one, parameters) for one in node.args if not isinstance(one, ast.Starred)]
            names = {one.arg: _name(one.value, parameters) for one in node.keywords if one.arg is not None}
            with_self = _is_init(node.func) and not upwards  # Base.__init__(self, ...)
            yield _Receiver(made, within if upwards else made, places[with_self:], names, rest)


def _name(node: ast.expr, known: Container[str] | None = None) -> str:
    return node.id if isinstance(node, ast.Name) and (known is None or node.id in known) else ""


def _is_init(callee: ast.expr) -> bool:
    return isinstance(callee, ast.Attribute) and callee.attr == "__init__"


def _is_super(callee: ast.expr) -> bool:
    inner = callee.value if isinstance(callee, ast.Attribute) else callee
    return isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "super"


def _named(callee: ast.expr, known: Mapping[str, Any]) -> Callable[..., Any] | None:
    """The class or function that an expression names, where that can be told without running it."""
    first, *rest = ast.unparse(callee).removesuffix(".__init__").split(".")
    found = known.get(first)
    for name in rest:
        found = inspect.getattr_static(found, name, None)
    return found if inspect.isclass(found) or inspect.isfunction(found) else None


def _next_constructor(made: Callable[..., Any], within: Any) -> type | None:
    """The class whose constructor ``super().__init__`` calls in that of ``made``, for an object of ``within``."""
    order = within.__mro__ if inspect.isclass(within) else ()
    constructors = [one for one in order[order.index(made) :] if "__init__" in vars(one)] if made in order else []
    return next((one for one in constructors[1:2] if one not in (nn.Module, object)), None)
