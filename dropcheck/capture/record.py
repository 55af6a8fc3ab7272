"""The second way in: one run of the model's forward, written down call by call.

Leaf layers are seen through module hooks, functions through a TorchFunctionMode; what happens inside a leaf is not
written down. The model that is run is a twin made for this: it may be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from dropcheck.capture.calls import Call, Value, owner_of, training_argument
from dropcheck.capture.catalogue import module_row
from dropcheck.capture.cheap import runs_cheaply
from dropcheck.capture.code import names_constructors
from dropcheck.capture.example import Budget, ExampleInput
from dropcheck.capture.names import plain_name, writes_its_argument
from dropcheck.capture.operators import called, is_computed
from dropcheck.capture.sites import call_site, calling_code
from dropcheck.capture.tensors import ATOMS, is_stored, shape_of, tensors_held, tensors_in


def record(model: nn.Module, example: ExampleInput, training: Mapping[str, bool], budget: Budget) -> list[Call]:
    """The calls of one forward, in order.

    ``model`` is run as it is; ``training`` holds the flags by module path that count as the model's own (they differ
    from the model's when it has to be run in evaluation mode). Whatever the forward raises is passed on; OverBudget
    when ``budget`` runs out.
    """
    try:
        return _record(model, example, training, budget)
    except RuntimeError as error:
        if "require grad" not in str(error):
            raise
    with torch.enable_grad():  # a forward that differentiates
        return _record(model, example, training, budget)


def _record(model: nn.Module, example: ExampleInput, training: Mapping[str, bool], budget: Budget) -> list[Call]:
    recorder = _Recorder(model, training, budget)
    with recorder.watching():
        recorder.inputs(example)
        recorder.output(model(*example.args, **example.kwargs))
    return recorder.calls


class _Recorder(TorchFunctionMode):
    """Writes down calls while ``watching``."""

    def __init__(self, model: nn.Module, training: Mapping[str, bool], budget: Budget) -> None:
        super().__init__()
        self.budget = budget
        self.model = model
        self.calls: list[Call] = []
        self.training = training
        self.paths: dict[int, str] = {}
        for path, module in model.named_modules():
            self.paths.setdefault(id(module), path)
        self.rows = {id(module): module_row(module) for module in model.modules()}
        self.values: dict[int, Value] = {}
        self.alive: list[Any] = []  # an id is only good as long as its object lives
        self.parents: list[tuple[nn.Module, list[Value]]] = []
        self.leaf: nn.Module | None = None
        self.escaped: list[Value] = []  # whose numbers went where they cannot be followed
        self._remember_stored_tensors()

    def _remember_stored_tensors(self) -> None:
        for path, module in self.model.named_modules():
            for name, stored in vars(module).items():
                if not name.startswith("_"):
                    for tensor in tensors_held(stored):
                        self._bind(tensor, Value(None, tuple(tensor.shape), f"{path}.{name}".lstrip(".")))
        for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers()):
            self._bind(tensor, Value(None, shape_of(tensor), name))

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(runs_cheaply(self.model))
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
            ):
                stack.callback(handle.remove)
            stack.enter_context(self)
            yield

    # Model level -----------------------------------------------------------------------------------------------

    def inputs(self, example: ExampleInput) -> None:
        for position, tensor in enumerate(tensors_held([*example.args, dict(example.kwargs)])):
            if id(tensor) not in self.values:
                self._add(Call("input", f"input_{position}" if position else "input", shape=shape_of(tensor)), tensor)

    def output(self, result: Any) -> None:
        found = tuple(self._value(tensor) for tensor in tensors_in(result))
        self.calls.append(Call("output", "output", args=found, shape=found[0].shape if found else None))

    # Module level ----------------------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self.leaf is not None:
            return
        self._adopt_strangers(args)
        for tensor in () if id(module) in self.paths else tensors_in((module._parameters, module._buffers)):
            self._bind(tensor, self._value(tensor))
        self.parents.append((module, [self._value(tensor) for tensor in tensors_in(args)]))
        if self.rows.get(id(module)) is not None or isinstance(module, torch.jit.ScriptModule):
            self.leaf = module

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, *result: Any) -> None:
        """After a forward; torch leaves out the keyword arguments, and so the result, when the forward raised."""
        if self.leaf is not None and self.leaf is not module:
            return
        if self.leaf is module:
            self.leaf = None
            if result:
                self._write_leaf(module, args, kwargs, result[0])
        elif result:
            self._adopt_strangers(result[0], fresh=True)
        if self.parents and self.parents[-1][0] is module:
            self.parents.pop()

    def _write_leaf(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        self._adopt_strangers((args, kwargs))  # a hook of the layer's own may have made them
        known, path = self.rows.get(id(module)), self.paths.get(id(module), "")
        call = Call(
            "" if known is None else known[0],
            path,
            self._replaced(args),
            self._replaced(kwargs),
            module=module,
            where=call_site(),
            training=self.training.get(path, module.training),
        )
        self._add(call, result)

    # Function level --------------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.leaf is not None:
            return func(*args, **kwargs)
        before = len(self.calls)
        result = called(func, args, kwargs, self)
        if result is not None and type(result) in ATOMS:  # the most frequent question: a size, a type
            return result
        if len(self.calls) > before and is_computed(map(self._value, tensors_in(result)), self.calls, before):
            return result
        name = plain_name(func)
        if name in _ESCAPES:
            self.escaped += [self._value(tensor) for tensor in tensors_in(args) if tensor.is_floating_point()]
        written = args[0] if args and writes_its_argument(func) else None
        if written is None and next(tensors_in(result), None) is None:
            return result
        if self.escaped and name in _RETURNS and args and _holds_numbers(args[0], result):
            self._adopt_strangers(result, fresh=True)
            return result
        self._adopt_strangers((args, kwargs))
        reads, keywords = self._replaced(args), self._replaced(kwargs)
        path = self._path()
        owner_path, owner = owner_of(self.model, Call("", path, reads, keywords))
        call = Call(name, path, reads, keywords, owner=owner, owner_path=owner_path, where=call_site())
        call.training = self._flag(call)
        # A write through a view changes the tensor behind it.
        changed = [written, getattr(written, "_base", None)] if written is not None else []
        self._add(call, (result, *changed))
        return result

    def _flag(self, call: Call) -> bool:
        """The training flag a function was given; where the run is in evaluation mode, the flag of its module."""
        given = training_argument(call)
        if given is None:
            return True
        return bool(given) or (not self.model.training and self.training.get(call.path, False))

    # Tensors ---------------------------------------------------------------------------------------------------

    def _value(self, tensor: torch.Tensor) -> Value:
        return self.values.get(id(tensor), Value(None, shape_of(tensor)))

    def _path(self) -> str:
        """Of the module whose forward is running; of the nearest around it where that is not registered."""
        return next((path for one, _ in reversed(self.parents) if (path := self.paths.get(id(one))) is not None), "")

    def _adopt_strangers(self, tensors: Any, fresh: bool = False) -> None:
        """Gives tensors that come from nowhere we saw an unknown operation as their origin.

        A detour through numpy, lists or code in C++ made them; they may depend on whatever the running module was
        given, and on what left torch before.
        ``fresh``: they cannot have been there before the forward ran.
        """
        for tensor in tensors_in(tensors):
            if id(tensor) in self.values:
                continue
            if not fresh and self._is_constant(tensor):
                self._bind(tensor, Value(None, shape_of(tensor)))
            else:
                given = self.parents[-1][1] if self.parents else []
                reads = [value for value in self.escaped if value not in given]
                self._add(Call(UNSEEN, self._path(), (*given, *reads), where=call_site()), tensor)

    def _is_constant(self, tensor: torch.Tensor) -> bool:
        """Whether a stranger was there before the forward ran, or was made of plain numbers."""
        made = not self.escaped and names_constructors(calling_code())
        return made or isinstance(tensor, nn.Parameter) or is_stored(tensor)

    def _bind(self, tensor: torch.Tensor, value: Value) -> None:
        self.values[id(tensor)] = value
        self.alive.append(tensor)

    def _add(self, call: Call, result: Any) -> None:
        self.budget.check()
        index = len(self.calls)
        found = list(tensors_in(result))
        call.shape = shape_of(found[0]) if found else call.shape
        self.calls.append(call)
        for tensor in found:
            self._bind(tensor, Value(index, shape_of(tensor)))

    def _replaced(self, nest: Any) -> Any:
        """The arguments with Values for tensors."""
        if isinstance(nest, torch.Tensor):
            return self._value(nest)
        if isinstance(nest, tuple):
            return tuple(self._replaced(item) for item in nest)
        if isinstance(nest, list):
            return [self._replaced(item) for item in nest]
        if isinstance(nest, dict):
            return {key: self._replaced(item) for key, item in nest.items()}
        if isinstance(nest, slice):
            return slice(*(self._replaced(item) for item in (nest.start, nest.stop, nest.step)))
        return nest


UNSEEN = "code that cannot be watched"
_ESCAPES = frozenset({"numpy", "array", "tolist"})
_RETURNS = frozenset({"from_numpy", "tensor", "as_tensor", "asarray"})


def _holds_numbers(argument: Any, made: Any) -> bool:
    """Whether a tensor was ``made`` of an array, or of a list of numbers that are not whole (sizes, lengths)."""
    listed = isinstance(argument, list | tuple) and isinstance(made, torch.Tensor) and made.is_floating_point()
    return listed or hasattr(argument, "__array_interface__")
