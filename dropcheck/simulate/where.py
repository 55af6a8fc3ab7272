"""Where in the model the run is: which node of the captured graph a call belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from dropcheck.capture.calls import Call, Value, owner_of
from dropcheck.capture.catalogue import module_row
from dropcheck.capture.names import plain_name


class Whereabouts:
    """Follows one run while ``watching`` and names calls as capture named their nodes.

    A layer that the catalogue knows is one node however many functions it calls; other functions are nodes of the
    module in whose forward they stand, numbered in the order in which they are called.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.paths: dict[nn.Module, str] = {}
        for path, module in model.named_modules():
            self.paths.setdefault(module, path)
        self.leaves = {module for module in self.paths if module_row(module) is not None}
        stored = (*model.named_parameters(), *model.named_buffers())
        self.stored = {id(tensor): name for name, tensor in stored}
        self.restart()

    def restart(self) -> None:
        """Counts calls from the beginning."""
        self.calls: Counter[str] = Counter()
        self.modules: list[nn.Module] = []
        self.leaf: tuple[nn.Module, str] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For one run of the model."""
        self.restart()
        entering = register_module_forward_pre_hook(self._enter)
        leaving = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            entering.remove()
            leaving.remove()

    def node(self, func: Callable[..., Any], tensors: Sequence[Any] = ()) -> str:
        """The node of a call that is happening now; to be asked once for every call.

        ``tensors``: the call's arguments; a function that is given a layer's parameters belongs to that layer.
        """
        if self.leaf is not None:
            return self.leaf[1]
        module = next((self.paths[module] for module in reversed(self.modules) if module in self.paths), "")
        owner, layer = owner_of(self.model, Call("", "", tuple(map(self._value, tensors))))
        return self._next(owner if layer is not None else f"{module}/{plain_name(func)}")

    def _value(self, argument: Any) -> Any:
        return Value(None, None, self.stored.get(id(argument))) if isinstance(argument, Tensor) else None

    def _next(self, path: str) -> str:
        self.calls[path] += 1
        count = self.calls[path]
        if count == 1:
            return path
        return f"{path}_{count - 1}" if "/" in path else f"{path}@{count}"

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self.leaf is not None:
            return
        self.modules.append(module)
        if module in self.leaves:
            self.leaf = module, self._next(self.paths[module])

    def _leave(self, module: nn.Module, args: Any, result: Any) -> None:
        if self.leaf is not None and self.leaf[0] is not module:
            return
        self.leaf = None
        if self.modules and self.modules[-1] is module:
            self.modules.pop()
