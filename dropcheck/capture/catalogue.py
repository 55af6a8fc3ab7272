"""The catalogue: what every module and function that dropcheck understands does.

Adding a layer type means adding one row. Modules are looked up by class, along the bases, as long as the class keeps
the ``forward`` the row describes; a subclass with a forward of its own is looked into instead. Layers of other
libraries are known by their plain class name, so that the library need not be installed. Functions are known by
plain name: ``F.relu``, ``torch.relu_`` and ``Tensor.relu`` are all ``relu``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from torch import Tensor, nn

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.code import names_in
from dropcheck.capture.functions import FUNCTIONS
from dropcheck.capture.layers import MODULES, library_row
from dropcheck.capture.rows import norms
from dropcheck.capture.rows.reading import Row
from dropcheck.ops import Op

_BY_CLASS: Mapping[type[nn.Module], str] = {getattr(nn, name): name for name in MODULES if hasattr(nn, name)}


def module_row(module: nn.Module) -> tuple[str, Row] | None:
    """What the catalogue knows ``module`` by, with its row; None if one has to look into its forward.

    A class keeps its base's row as long as it keeps the base's forward, and the instance has no forward of its own.
    """
    forward = getattr(type(module), "forward", None)
    if forward is None or "forward" in vars(module):  # a scripted class has none to show
        return None
    kind = getattr(module, "cls_to_become", None) or type(module)  # a lazy layer is what it becomes
    for cls in kind.__mro__:
        if getattr(cls, "forward", forward) is not forward:
            break
        if cls in _BY_CLASS:
            return _BY_CLASS[cls], MODULES[_BY_CLASS[cls]]
        attributes, row = _library_row(cls) or ((), None)
        if row is not None and not module._modules and any(hasattr(module, attribute) for attribute in attributes):
            return cls.__name__, row
    return (type(module).__name__, norms.batch_norm) if _keeps_statistics(module) else None


@lru_cache(maxsize=4096)
def _library_row(cls: type) -> tuple[tuple[str, ...], Row] | None:
    return None if cls.__module__.startswith("torch.") else library_row(cls.__name__)


def _keeps_statistics(module: nn.Module) -> bool:
    """Whether it is a batch norm that computes by hand: masked ones, EvoNorm-B."""
    if module._modules or not isinstance(getattr(module, "running_var", None), Tensor):
        return False
    cls: type = type(module)
    names = names_in(cls)
    return {"running_var", "training"} <= names and names.isdisjoint(_NORMALISE)


_NORMALISE = frozenset({"batch_norm", "native_batch_norm", "instance_norm", "forward"})
"""Functions to look into a forward for."""


def function_row(name: str) -> Row | None:
    """The row of the function with that plain name."""
    return FUNCTIONS.get(name)


def operation(call: Call) -> Op | None:
    """What a call does; None if its result is its first argument under another name."""
    if call.module is not None:
        known = module_row(call.module)
        row = None if known is None else known[1]
    else:
        row = function_row(call.target)
    return ops.Opaque(call.kind) if row is None else row(call)
