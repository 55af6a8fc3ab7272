"""A live model, copied so that looking at it leaves no trace on it."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from dropcheck.capture.hooks import own_hooks

_COPYING = 8
"""Copying takes a dozen frames for each level of nesting; running takes three."""


def replica(model: nn.Module, device: str) -> nn.Module:
    """A copy that shares nothing with ``model``, its tensors on ``device``, without the hooks put on it from outside.

    Of attributes that do not let themselves be copied only the objects are shared, not the containers they are in.
    """
    memo: dict[int, Any] = {}
    tables = [table for module in model.modules() for table in _hook_tables(module)]
    memo.update({id(table): type(table)() for table in tables})
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, Tensor) and not is_lazy(tensor):
                memo.setdefault(id(tensor), _moved(tensor, device))
    with recursion_allowed(_COPYING):
        copied: nn.Module = _copied(model, memo, device)
        is_own = own_hooks(model)
        for table in filter(None, tables):
            kept = ((key, hook) for key, hook in table.items() if hook is True or is_own(hook))
            memo[id(table)].update({key: deepcopy(hook, memo) for key, hook in kept})
    return copied


def _copied(value: Any, memo: dict[int, Any], device: str) -> Any:
    """A deep copy as far as there can be one: what refuses is taken apart, and shared where it has no parts."""
    if id(value) in memo:
        return memo[id(value)]
    attempt = dict(memo)
    try:
        copy = deepcopy(value, attempt)
    except Exception:  # noqa: BLE001 - copying runs foreign code, which may raise anything
        return _copied_in_parts(value, memo, device)
    memo.update(attempt)
    return copy


def _copied_in_parts(value: Any, memo: dict[int, Any], device: str) -> Any:
    if isinstance(value, Tensor):
        memo[id(value)] = _moved(value, device)
    elif isinstance(value, nn.Module):
        twin = memo[id(value)] = type(value).__new__(type(value))
        vars(twin).update({name: _copied(part, memo, device) for name, part in vars(value).items()})
    elif type(value) in (dict, OrderedDict):
        twin = memo[id(value)] = type(value)()
        twin.update({key: _copied(part, memo, device) for key, part in value.items()})
    elif type(value) in (list, tuple, set):
        memo[id(value)] = type(value)(_copied(part, memo, device) for part in value)
    return memo.get(id(value), value)


def every_path(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module under every path that leads to it, as ``named_modules(remove_duplicate=False)``.

    Unlike that, it ends where a module holds one that it is a part of.
    """

    def below(path: str, module: nn.Module, around: tuple[nn.Module, ...]) -> Iterator[tuple[str, nn.Module]]:
        yield path, module
        for name, child in module._modules.items():
            if child is not None and not any(child is one for one in (*around, module)):
                yield from below(f"{path}.{name}" if path else name, child, (*around, module))

    return below("", model, ())


@contextmanager
def recursion_allowed(times: int) -> Iterator[None]:
    """While open, calls may nest that many times deeper than the user's own may."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(times * limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _hook_tables(module: nn.Module) -> Iterator[dict[int, Any]]:
    if isinstance(module, LazyModuleMixin):  # its own hooks give it its shape
        return
    for name, value in vars(module).items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")) and isinstance(value, dict):
            yield value


def _moved(tensor: Tensor, device: str) -> Tensor:
    """A copy on ``device`` and a leaf, whatever ``tensor`` was: results kept as attributes cannot be deep-copied."""
    # What is without memory, such as the pattern of an ensemble's members, stays so.
    moved = tensor.detach().clone() if tensor.is_meta else tensor.detach().to(device, copy=True)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


@contextmanager
def random_state_kept() -> Iterator[None]:
    """On leaving, the random number generators of torch, Python and NumPy stand where they stood."""
    numpy_random: Any = sys.modules.get("numpy.random")  # importing it takes longer than many a capture
    python_state = random.getstate()
    numpy_state = numpy_random.get_state() if numpy_random is not None else None
    cuda_in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if cuda_in_use else ()):
        try:
            yield
        finally:
            random.setstate(python_state)
            if numpy_random is not None:
                numpy_random.set_state(numpy_state)
