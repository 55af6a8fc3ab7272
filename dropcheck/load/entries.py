"""Which layer each input of a model meets first, read from the sources of its forward and of those it calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from dropcheck.load.usage import uses_of
from dropcheck.load.use import Use

_DEEPEST = 5


def fields_read(model: nn.Module, name: str) -> tuple[Use, dict[str, nn.Module | None]]:
    """What forward does with a parameter, and the first layer of each field of it that forward reads."""
    uses = uses_of(model.forward)
    use = uses.get(name, Use())
    called = {field for field in use.attributes if uses.get(f"{name}.{field}", Use()).is_called}
    methods = use.methods | {field for field in called if hasattr(Tensor, field)}
    wanted = [field for field in use.attributes if field not in use.optional | methods]
    return use, {field: _first(model, uses.get(f"{name}.{field}", Use()), 0) for field in wanted}


def entry(model: nn.Module, name: str, depth: int = 0) -> nn.Module | None:
    """The layer of torch that a parameter of forward is handed to; None where the source does not tell."""
    return _first(model, uses_of(model.forward).get(name, Use()), depth)


def _first(model: nn.Module, use: Use, depth: int) -> nn.Module | None:
    for callee, place in use.arguments:
        module = getattr(model, callee, None) if callee.isidentifier() else None
        found = _behind(module, place, depth) if isinstance(module, nn.Module) else None
        if found is not None:
            return found
        method: Any = getattr(type(model), callee, None)
        if callee != "forward" and inspect.isfunction(method) and depth < _DEEPEST:
            name = _name(method, place)
            found = _first(model, uses_of(method).get(name, Use()), depth + 1) if name else None
            if found is not None:
                return found
    return None


def _behind(module: nn.Module, place: int | str, depth: int) -> nn.Module | None:
    """What the input at ``place`` of a module meets first inside it; the module itself if it is one of torch's."""
    if isinstance(module, nn.Sequential):
        return next((found for one in module if (found := _behind(one, 0, depth + 1)) is not None), None)
    if type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.ModuleList | nn.ModuleDict):
        return module if any(True for _ in module.parameters()) else None
    if depth >= _DEEPEST:
        return None
    forward = inspect.getattr_static(type(module), "forward")
    name = _name(forward, place) if inspect.isfunction(forward) else None
    return None if name is None else entry(module, name, depth + 1)


def _name(function: Callable[..., Any], place: int | str) -> str | None:
    names = list(inspect.signature(function).parameters)[1:]
    if isinstance(place, int):
        return names[place] if place < len(names) else None
    return place if place in names else None
