"""Where the text of a file puts a whole model into training mode to predict with it, as Monte Carlo dropout does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from dropcheck.syntax.scope import Kind, Scope
from dropcheck.syntax.tree import Attribute, Block, Call, Expr, Lambda, Literal, Name, Other, walk

if TYPE_CHECKING:
    from dropcheck.syntax.file import SourceFile

_LEARNING = frozenset({"backward", "zero_grad", "manual_backward", "optimizer_step", "grad"})
_ABOUT_LEARNING = re.compile(r"(?i)optim|loss|criterion|scaler|epoch|train_loader|update_bn|bn_update|recalib|calibrat")
_NO_GRADIENTS = ("torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad", "torch.autograd.inference_mode")
_PREDICTING = frozenset({"forward", "predict", "generate", "sample", "encode", "decode"})
_DEEPEST = 2
"""Functions that the model is handed through, from where it is switched on to where it predicts."""

_Position = tuple[int, int]


class Switch(NamedTuple):
    """A model put into training mode before it predicts: the call that does it, and what that is, in words."""

    call: Call
    shown: str


def switches(file: SourceFile) -> Iterator[Switch]:
    """Every such call, in source order within each function; not of models known to hold no batch norm."""
    for scope in file.said.scopes:
        if scope.kind in (Kind.FUNCTION, Kind.MODULE) and not _learns(scope):
            for call, model in _switched_on(scope):
                text = _text(model)
                if _has_no_batch_norm(file, model, scope):
                    continue
                if _predicts(file, scope, text, _position(call)):
                    yield Switch(call, f"{text}.train()")
                else:
                    yield from _by_callers(file, scope, call, text)


def _by_callers(file: SourceFile, helper: Scope, switched: Call, model: str) -> Iterator[Switch]:
    """The same where the callers of a function that leaves the model on predict; where only some do, their calls."""
    if switched.guards or any(_switches_off(one) and _position(one) > _position(switched) for one in helper.calls):
        return
    callers = file.running.callers(helper)
    sampling = [one for one in callers if _samples(file, helper, one, model)]
    if sampling and len(sampling) == len(callers):
        yield Switch(switched, f"{model}.train()")
    else:
        yield from (Switch(one, f"{one.called}(), which calls {model}.train(),") for one in sampling)


def _samples(file: SourceFile, helper: Scope, call: Call, model: str) -> bool:
    """Whether who calls ``helper`` predicts behind the call with the model that it switches on."""
    scope = call.scope
    handed, dot, rest = _handed(helper, call, model)
    if handed is None or not _text(handed) or _learns(scope):
        return False
    known = not rest and _has_no_batch_norm(file, handed, scope)
    return not known and _predicts(file, scope, f"{_text(handed)}{dot}{rest}", _position(call))


def _handed(function: Scope, call: Call, name: str) -> tuple[Expr | None, str, str]:
    """What a call hands over as the first part of the dotted ``name`` in ``function``, and the rest of it."""
    head, dot, rest = name.partition(".")
    names = [one.name for one in function.parameters]
    if head not in names:
        return Name(head), dot, rest
    place = names.index(head)
    if function.is_bound and place == 0:
        return (call.function.value if isinstance(call.function, Attribute) else None), dot, rest
    return call.argument(place - function.is_bound, head), dot, rest


def _learns(scope: Scope) -> bool:
    """Whether a function trains: by what it calls, or by what it speaks of."""
    if any(call.called in _LEARNING or (call.called == "step" and not call.arguments) for call in scope.calls):
        return True
    spoken = [one.name for one in scope.parameters] + [call.called for call in scope.calls] + [scope.name]
    return any(map(_ABOUT_LEARNING.search, spoken))


def _switched_on(scope: Scope) -> Iterator[tuple[Call, Expr]]:
    """The calls of `model.train()`; not those on parts, one after the other, nor where a test picks the parts."""
    for call in scope.calls:
        if isinstance(call.function, Attribute) and call.function.attr == "train":
            model, mode = call.function.value, call.argument(0, "mode")
            if _text(model) and (mode is None or (isinstance(mode, Literal) and mode.value is True)):
                parts = isinstance(model, Name) and any(
                    isinstance(one.value, Other) for one in scope.by_name.get(model.id, [])
                )
                if not parts:
                    yield call, model


def _predicts(
    file: SourceFile, scope: Scope, model: str, start: _Position, free: bool = False, deeper: int = _DEEPEST
) -> bool:
    """Whether the model predicts, itself or in a function it is handed to, behind ``start`` and while it is on.

    ``free``: whether that is without gradients or again and again already.
    """
    ends = [_position(call) for call in scope.calls if _switches_off(call) and _position(call) > start]
    end = min(ends, default=(1 << 60, 0))
    free = free or any(_is_no_grad(file, one, scope) for one in scope.decorators)
    dropped = {one.value for one in scope.statements if not one.kept}
    for call, blocks in _calls(scope):
        if not start < _position(call) < end or call in dropped:
            continue
        sampled = free or any(_frees(file, block.over, block.kind, scope) for block in blocks)
        if _text(_asked(call)) == model:
            if sampled:
                return True
        elif deeper and any(
            _predicts(file, inner, name, (0, 0), sampled, deeper - 1) for inner, name in _receivers(file, call, model)
        ):
            return True
    return False


def _calls(scope: Scope) -> Iterator[tuple[Call, tuple[Block, ...]]]:
    """The calls in a function and in its lambdas, with the blocks they stand in, which are those of a lambda's too."""
    around = {one.scope: call.blocks for call in scope.calls for one in walk(call) if isinstance(one, Lambda)}
    for inside in (scope, *(inner for inner in scope.scopes if inner.kind is Kind.LAMBDA)):
        yield from ((call, (*around.get(inside, ()), *call.blocks)) for call in inside.calls)


def _asked(call: Call) -> Expr:
    """The model that a call asks for a prediction, if it asks one."""
    function = call.function
    return function.value if isinstance(function, Attribute) and function.attr in _PREDICTING else function


def _receivers(file: SourceFile, call: Call, model: str) -> Iterator[tuple[Scope, str]]:
    """The functions of this file that a call hands the model to, with what they call it."""
    for meaning in file.names.of(call.function, call.scope):
        inner = meaning.local
        if inner is None or inner.kind is not Kind.FUNCTION or _learns(inner):
            continue
        for parameter in inner.parameters:
            handed, _, _ = _handed(inner, call, parameter.name)
            text = "" if handed is None else _text(handed)
            if text and f"{model}.".startswith(f"{text}."):
                yield inner, parameter.name + model.removeprefix(text)


def _switches_off(call: Call) -> bool:
    if call.called == "eval" and isinstance(call.function, Attribute):
        return True
    mode = call.argument(0, "mode")
    return call.called == "train" and isinstance(mode, Literal) and mode.value is False


def _frees(file: SourceFile, over: Expr | None, kind: str, scope: Scope) -> bool:
    """Whether what stands in a block runs without gradients, or over and over to count samples: `range(n)`."""
    if over is None:
        return False
    repeats = any(isinstance(one, Call) and one.called in ("range", "trange") for one in walk(over))
    return (kind == "loop" and repeats) or _is_no_grad(file, over, scope)


def _is_no_grad(file: SourceFile, expr: Expr, scope: Scope) -> bool:
    function = expr.function if isinstance(expr, Call) else expr
    return any(name in _NO_GRADIENTS for name in file.names.dotted(function, scope))


def _has_no_batch_norm(file: SourceFile, model: Expr, scope: Scope) -> bool:
    """Whether the model is known, of a class in this file, and holds no batch norm."""
    classes = []
    owner = file.names.instance_of(model, scope)
    place = file.names.binding(model.id, scope) if isinstance(model, Name) else None
    if owner is not None:
        classes = [owner]
    elif isinstance(model, Name) and place is not None:
        made = [one.value for one in place.by_name.get(model.id, [])]
        for one in made:
            local = [m.local for m in file.names.of(one.function, place)] if isinstance(one, Call) else []
            classes += [klass for klass in local if klass is not None and klass.kind is Kind.CLASS]
    return bool(classes) and all(file.layers.holds(one, file.layers.is_batch_norm) is False for one in classes)


def _text(expr: Expr) -> str:
    """`self.model` as written; empty for what is no dotted name."""
    if isinstance(expr, Name):
        return expr.id
    inner = _text(expr.value) if isinstance(expr, Attribute) else ""
    return f"{inner}.{expr.attr}" if inner and isinstance(expr, Attribute) else ""


def _position(call: Call) -> _Position:
    return call.site.line, call.site.column
