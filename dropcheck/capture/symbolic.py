"""The first way in: symbolic tracing with torch.fx.

fx traces a forward with stand-ins for tensors, so it needs no input, but gives up on control flow that depends on
values or shapes. It also believes whatever it is shown: where it is known to go wrong silently, it is not asked.
"""

from __future__ import annotations

import inspect
import operator
import re
import warnings
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import fx, nn
from torch.fx._symbolic_trace import _assert_is_none

from dropcheck.capture.catalogue import module_row
from dropcheck.capture.code import names_of
from dropcheck.capture.operators import is_foreign
from dropcheck.capture.sites import call_site

_GUARDED = re.compile(r"_\d+$")
SITE = "dropcheck_site"
PATH = "dropcheck_path"
"""What a traced node's ``meta`` says beyond fx's own: its CallSite, and the path of the module that made the call."""


class Refused(Exception):
    """Symbolic tracing cannot capture this model; the message says why."""


def trace(model: nn.Module) -> fx.Graph:
    """The fx graph of ``model``'s forward, optional arguments at their defaults.

    May add constant attributes to ``model``. Raises Refused, whatever the forward raised being its cause.
    """
    refuse(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = _Tracer().trace(model, concrete_args=_defaults(model))
    except Exception as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    if any(node.op == "call_method" and node.target in ("numpy", "__array__", "tolist") for node in graph.nodes):
        raise Refused("it takes numbers out of torch")
    if any(is_foreign(node.target) for node in graph.nodes):
        raise Refused("it calls an operator that only a run can look into")
    _remove_guards(graph)
    return graph


def refuse(model: nn.Module) -> None:
    """Raises Refused where the code of a model shows, before any of it runs, that it cannot be traced."""
    for path, module in model.named_modules():
        if "forward" in vars(module):
            raise Refused(f"{path or 'the model'} has a forward bound to the instance")
        if any(map(_is_written_for_a_run, (*module._forward_pre_hooks.values(), *module._forward_hooks.values()))):
            raise Refused(f"{path or 'the model'} has hooks, which see other values in a run")
    for cls in dict.fromkeys(type(module) for module in model.modules() if module_row(module) is None):
        if _asks_for_tensors(cls):
            raise Refused(f"{cls.__name__} asks whether a value is a tensor, and symbolic values are none")


def _is_written_for_a_run(hook: Any) -> bool:
    """Whether a hook is a model's, and no object of torch's, which prepare weights, or a lazy layer's own."""
    return isinstance(hook, FunctionType | MethodType) and not hook.__module__.startswith("torch.")


def _asks_for_tensors(cls: type[nn.Module]) -> bool:
    """Whether the class's methods branch on a value being a tensor: fx would take the wrong branch, silently."""
    methods = [method for name, method in vars(cls).items() if name != "__init__" and isinstance(method, FunctionType)]
    if cls.__module__.startswith("torch."):
        return False
    return any(_asks(method, set()) for method in methods)


def _asks(function: FunctionType, seen: set[FunctionType]) -> bool:
    seen.add(function)
    names = set(names_of(function.__code__))
    if "is_tensor" in names or {"isinstance", "Tensor"} <= names:
        return True
    # Plain functions of the same file that it calls; library functions are the library's business.
    called = (function.__globals__.get(name) for name in names)
    return any(
        _asks(other, seen)
        for other in called
        if isinstance(other, FunctionType) and other.__module__ == function.__module__ and other not in seen
    )


def _remove_guards(graph: fx.Graph) -> None:
    """Drops the checks fx adds for arguments left at their defaults, and the stand-ins only they read."""
    for node in reversed(graph.nodes):
        guards = node.target in (torch._assert, _assert_is_none)
        compares = node.target in (operator.eq, operator.is_) and not node.users
        unread = node.op == "placeholder" and not node.users
        if guards or compares or (unread and _GUARDED.search(str(node.target))):
            graph.erase_node(node)


def _defaults(model: nn.Module) -> dict[str, Any]:
    """The optional parameters of forward: left symbolic, ``if mask is not None`` would take the wrong branch."""
    parameters = inspect.signature(model.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


class _Tracer(fx.Tracer):
    """Stops at the layers the catalogue knows and notes where each call stands."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_row(m) is not None

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        if node.op.startswith("call"):
            node.meta[SITE] = call_site()
            node.meta[PATH] = next(reversed(self.module_stack.values()), ("",))[0] if self.module_stack else ""
        return node
