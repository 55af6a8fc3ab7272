"""What a model still draws at random after ``model.eval()``: one more run, if its modules' flags do not settle it.

The run only watches the functions that draw; where it finds one depends on the same call sites as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from dropcheck import ops
from dropcheck.capture.calls import Call, training_argument
from dropcheck.capture.catalogue import operation
from dropcheck.capture.cheap import runs_cheaply
from dropcheck.capture.code import names_in
from dropcheck.capture.example import Budget, ExampleInput
from dropcheck.capture.functions import DRAWING
from dropcheck.capture.layers import MODULES
from dropcheck.capture.names import plain_name
from dropcheck.capture.sites import Origin, call_site

_SWITCHES = frozenset({"train", "eval"})
"""Methods whose mention in a class means that ``model.eval()`` may leave a layer in training mode."""


def mark_draws(calls: Sequence[Call], model: nn.Module, example: ExampleInput | None, budget: Budget) -> None:
    """Sets ``random_in_eval`` of every call that draws at random while the model trains.

    Args:
        calls: of a run of ``model`` in training mode.
        model: the twin that was run, or only traced. It may be run again; its training flags are put back.
        example: the input of that run; without one only what the flags say is known.
        budget: for the run. Where it fails, what it would have told stays None.
    """
    drawing = [call for call in calls if (call.module is not None or call.target in DRAWING) and draws(call)]
    classes: set[type] = {type(module) for module in model.modules()}
    switched = any(_has_own_way(one) for one in classes) or any("train" in vars(one) for one in model.modules())
    open_ones = []
    for call in drawing:
        if call.module is not None and call.target in MODULES and not switched:
            call.random_in_eval = False
        else:
            open_ones.append(call)
    if not open_ones or example is None:
        return
    found = _drawn_in_evaluation(model, example, budget)
    if found is not None:
        for call in open_ones:
            call.random_in_eval = found.still(call)


def _has_own_way(cls: type) -> bool:
    """Whether the modules of a class may set training flags in another way than torch's."""
    overridden = any(getattr(cls, name) is not getattr(nn.Module, name) for name in _SWITCHES)
    return overridden or bool(_SWITCHES & names_in(cls))


def draws(call: Call) -> bool:
    """Whether the call, as it is made, draws random numbers: a dropout that is on, or a generator of them."""
    on = call.training if call.module is not None else training_argument(call) is not False
    match operation(call):
        case ops.Dropout(drop_rate=rate) | ops.Attention(drop_rate=rate) | ops.Recurrent(drop_rate=rate):
            return rate > 0.0 and on
        case ops.Constant(random=random):
            return random
    return False


_Place = tuple[str, Origin | None, str]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Where random numbers were drawn: module path, place in the source, function."""

    places: frozenset[_Place]

    def still(self, call: Call) -> bool:
        """Whether what ``call`` does in training was seen to draw."""
        if call.module is None:
            return (call.path, None if call.where is None else call.where.origin, call.target) in self.places
        inside = f"{call.path}." if call.path else ""
        return any(path == call.path or path.startswith(inside) for path, _, _ in self.places)


def _drawn_in_evaluation(model: nn.Module, example: ExampleInput, budget: Budget) -> _Drawn | None:
    """What one run after ``model.eval()`` draws; None if it fails."""
    watch = _Watch(model, budget)
    with _flags_kept(model), runs_cheaply(model, drawing=True):
        try:
            model.eval()
            with watch.watching():
                model(*example.args, **example.kwargs)
        except Exception:  # noqa: BLE001 - a foreign forward may raise anything: what it draws is then not known
            return None
    return _Drawn(frozenset(watch.places))


@contextmanager
def _flags_kept(model: nn.Module) -> Iterator[None]:
    flags = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


class _Watch(TorchFunctionMode):
    """Notes which functions draw random numbers, and where, while ``watching``."""

    def __init__(self, model: nn.Module, budget: Budget) -> None:
        super().__init__()
        self.budget = budget
        self.places: set[_Place] = set()
        self.paths: dict[int, str] = {}
        for path, module in model.named_modules():
            self.paths.setdefault(id(module), path)
        self.running = [""]

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles = (
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.running.append(self.paths.get(id(module), self.running[-1]))

    def _leave(self, module: nn.Module, args: Any, result: Any) -> None:
        if len(self.running) > 1:
            self.running.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.budget.check()
        name = plain_name(func)
        if name in DRAWING and draws(Call(name, "", args, kwargs or {})):
            self.places.add((self.running[-1], call_site().origin, name))
        return func(*args, **kwargs or {})
