"""What both ways of capturing a model produce: the calls it makes, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dropcheck.capture.sites import CallSite

MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor met during capture.

    ``call`` is the index of the call that made it, or None for a parameter or buffer, whose dotted name is then
    ``parameter``. ``shape`` is None when nothing was run.
    """

    call: int | None
    shape: tuple[int, ...] | None = None
    parameter: str | None = None


@dataclass(slots=True)
class Call:
    """One leaf module or one torch function applied to tensors; tensors among the arguments are Values.

    Attributes:
        target: what the catalogue knows it by: the function's plain name (``relu`` for F.relu, torch.relu_ and
            Tensor.relu alike) or the layer's class; ``input`` and ``output`` stand for the model's own.
        path: module path: of the leaf, or of the module in whose forward the function was called.
        module: the leaf layer, None for functions.
        owner: the layer whose parameters a function was given; ``owner_path`` is its path.
        shape: of the (first) result.
        where: the call site.
        training: the layer's flag, or the one the function was given.
        random_in_eval: whether what it draws at random it draws after ``model.eval()`` too; None where not known.
    """

    target: str
    path: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    module: nn.Module | None = None
    owner: nn.Module | None = None
    owner_path: str = ""
    shape: tuple[int, ...] | None = None
    where: CallSite | None = None
    training: bool = True
    random_in_eval: bool | None = None

    @property
    def kind(self) -> str:
        """The layer's class as the user knows it, or the function's name."""
        layer = self.module or self.owner
        return self.target if layer is None else type(layer).__name__

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """The argument given at ``position`` or as ``name``, else ``default``."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def tensors(self) -> Iterator[Value]:
        """Every tensor among the arguments, in order, however nested."""
        yield from values_in(self.args)
        yield from values_in(tuple(self.kwargs.values()))


def values_in(argument: Any) -> Iterator[Value]:
    """The Values in a nest of tuples, lists, dicts and slices."""
    if isinstance(argument, Value):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for item in argument:
            yield from values_in(item)
    elif isinstance(argument, Mapping):
        for item in argument.values():
            yield from values_in(item)
    elif isinstance(argument, slice):
        yield from values_in((argument.start, argument.stop, argument.step))


def owner_of(model: nn.Module, call: Call) -> tuple[str, nn.Module | None]:
    """The torch.nn layer whose parameters a function was given, with its path, if all of them belong to one."""
    paths = {value.parameter.rpartition(".")[0] for value in call.tensors() if value.parameter is not None}
    if len(paths) != 1:
        return "", None
    path = paths.pop()
    owner = model.get_submodule(path) if path else model
    return (path, owner) if type(owner).__module__.startswith("torch.nn.") or isinstance(owner, _LAYERS) else ("", None)


_LAYERS = (nn.modules.batchnorm._NormBase, nn.modules.conv._ConvNd, nn.Linear)
"""Layers whose subclasses call the layer's function themselves, but are still that layer."""


def training_argument(call: Call) -> Any:
    """The training flag among a functional dropout's or norm's arguments; None for other functions."""
    position, default = _TRAINING_ARGUMENTS.get(call.target, (0, None))
    return call.argument(position, "training", call.kwargs.get("train", default)) if position else None


_TRAINING_ARGUMENTS: Mapping[str, tuple[int, Any]] = {
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "native_dropout", "feature_dropout"), (2, True)),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), (2, False)),
    "multi_head_attention_forward": (13, True),
    "batch_norm": (5, False),
}
