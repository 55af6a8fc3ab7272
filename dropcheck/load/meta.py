"""What happens to torch's functions while a constructor runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

LARGEST_REAL = 2**22
"""Elements of one tensor that is made for real during construction: a 2048 x 2048 mask."""

MOST_REAL = 2**24
"""Elements of all of them: 64 MiB of float32."""

LARGEST_DRAWN = 2**16
"""Elements of a tensor for which random numbers are still drawn."""

# Functions that allocate, and those that fill what they allocate with numbers a constructor may look at.
_EMPTY = frozenset({"empty", "empty_strided", "empty_like", "new_empty"})
_FILLED = frozenset({"zeros", "ones", "full", "eye", "rand", "randn", "randint", "new_zeros", "new_ones", "new_full"})
_LISTED = frozenset(
    {"tensor", "as_tensor", "arange", "linspace", "logspace", "randperm", "tril_indices", "triu_indices"}
)

_DRAWN_IN_PLACE = frozenset({"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "log_normal_", "cauchy_"})

# What can be asked of a tensor without memory at no cost. Anything else would bring in the meta kernels, which take
# longer to import than the model takes to build.
_FREE = frozenset(
    {
        *("__get__", "__set__", "__len__", "__repr__", "__format__", "__hash__", "__deepcopy__", "__reduce_ex__"),
        *("as_subclass", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point"),
        *("is_inference", "ndimension", "nelement", "numel", "register_hook", "requires_grad_", "retain_grad", "size"),
        *("storage_offset", "stride", "type", "detach", "detach_", "_has_compatible_shallow_copy_type", "data_ptr"),
        *("register_post_accumulate_grad_hook", "is_pinned", "is_shared", "is_same_size", "untyped_storage"),
        *("chunk", "clone", "contiguous", "expand", "expand_as", "flatten", "narrow", "permute", "reshape", "select"),
        *("split", "squeeze", "squeeze_", "swapaxes", "t", "t_", "transpose", "transpose_", "unbind", "unflatten"),
        *("unsqueeze", "unsqueeze_", "view", "view_as", "movedim", "resize_", "numpy_T", "moveaxis", "unsafe_chunk"),
        *("bfloat16", "double", "float", "half", "to", "is_nonzero_static", "pin_memory", "share_memory_", "cpu"),
    }
)


def untouched(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """What stands in for the functions of torch.nn.init."""
    return tensor


class NeedsValues(BaseException):
    """Construction asks for values of a tensor that has none. Not for constructors to catch."""


class MetaConstruction(TorchFunctionMode):
    """Large tensors get no memory and are not written to; asking one for values raises NeedsValues."""

    def __init__(self) -> None:
        super().__init__()
        self.needed_values = False
        self.real = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _EMPTY or name in _FILLED or name in _LISTED:
            return func(*args, **{**_settled(kwargs), "device": self._device(name, args, kwargs)})
        if func is untouched:
            return untouched(*args, **kwargs)
        target = args[0] if args and isinstance(args[0], Tensor) else None
        if target is not None and _leaves_alone(target, name, args):
            return target
        reads_meta = _reads_meta(args) or _reads_meta(tuple(kwargs.values()))
        if not reads_meta or name in _FREE or (name == "__getitem__" and not _indexed_by_tensor(args)):
            return func(*args, **_settled(kwargs))
        if target is not None and target.is_meta and _writes(name):
            return None if name == "__setitem__" else target
        self.needed_values = True
        raise NeedsValues(name)

    def _device(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if name in _EMPTY or str(kwargs.get("device")) == "meta":
            return "meta"
        if name in _FILLED:
            elements = _elements(args, kwargs)
            if elements > LARGEST_REAL or self.real + elements > MOST_REAL:
                return "meta"
            self.real += elements
        return "cpu"


class RealConstruction(TorchFunctionMode):
    """Everything lies on the CPU; random numbers for large tensors are only drawn if they are wanted (``draws``)."""

    def __init__(self, draws: bool = False) -> None:
        super().__init__()
        self._largest = math.inf if draws else LARGEST_DRAWN

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func is untouched:
            return untouched(*args, **kwargs)
        target = args[0] if args and isinstance(args[0], Tensor) else None
        if target is not None and _leaves_alone(target, name, args, self._largest):
            return target
        if name in ("rand", "randn") and _elements(args, kwargs) > self._largest:
            return torch.zeros(*args, **_settled(kwargs))
        return func(*args, **_settled(kwargs))


def _settled(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments for a machine without accelerator."""
    if "device" not in kwargs and "pin_memory" not in kwargs:
        return kwargs
    kept = {key: value for key, value in kwargs.items() if key not in ("device", "pin_memory")}
    if kwargs.get("device") is not None:
        kept["device"] = "meta" if str(kwargs["device"]) == "meta" else "cpu"
    return kept


def _leaves_alone(tensor: Tensor, name: str, args: tuple[Any, ...], largest_drawn: float = LARGEST_DRAWN) -> bool:
    """Whether the function only moves the tensor to a device, or fills a large one with random numbers."""
    if name == "to":
        return isinstance(args[1] if len(args) > 1 else None, str | torch.device)
    return name in ("cuda", "cpu") or (name in _DRAWN_IN_PLACE and tensor.numel() > largest_drawn)


def _writes(name: str) -> bool:
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _elements(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """How many elements a factory makes; an upper bound is good enough."""
    sizes = [*args, *(kwargs[key] for key in ("size", "n", "m") if key in kwargs)]
    nested = [size for item in sizes for size in (item if isinstance(item, tuple | list) else (item,))]
    return math.prod(max(size, 1) for size in nested if isinstance(size, int) and not isinstance(size, bool))


def _reads_meta(arguments: Any) -> bool:
    return any(
        argument.is_meta
        if isinstance(argument, Tensor)
        else isinstance(argument, tuple | list) and _reads_meta(argument)
        for argument in arguments
    )


def _indexed_by_tensor(args: tuple[Any, ...]) -> bool:
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return any(isinstance(part, Tensor | list) for part in index)
