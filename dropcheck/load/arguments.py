"""Constructor arguments: the ones given, and guesses for those that are missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from dropcheck.load import tables
from dropcheck.load.failure import LoadError
from dropcheck.load.use import Use, uses_of
from dropcheck.result import ErrorKind
from dropcheck.source import parse_arguments

_DOWNLOADS = {"pretrained": False, "weights": None, "pretrained_backbone": False, "weights_backbone": None}


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call: its arguments, how they read in source, and which of them are guesses."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    text: str
    assumed: tuple[str, ...] = ()


class Unknown(Exception):
    """Arguments nobody gave and no table knows: the message names them, ``call`` is the call to complete."""

    def __init__(self, reason: str, call: str) -> None:
        super().__init__(reason)
        self.call = call


_NOTHING_KNOWN = Use(is_read=True)


@dataclass(frozen=True, slots=True)
class _Guess:
    value: Any
    text: str


def argument_sets(make: Callable[..., Any], call: str | None, classes: Sequence[type]) -> Iterator[Arguments]:
    """The arguments to call a class or function with, the likeliest first: those given, the others guessed.

    ``call`` is the text of a literal call; ``classes`` are those of the same file: modules among them may be handed
    over as building blocks, others as configurations.

    Raises:
        LoadError: the given arguments do not fit the signature.
        Unknown: an argument is missing that cannot be guessed.
    """
    signature = _signature(make)
    bound = _bound(signature, call)
    given = tuple(bound.arguments)
    for name, harmless in _DOWNLOADS.items():
        parameter = signature.parameters.get(name)
        if parameter is not None and name not in bound.arguments and _may_download(parameter, harmless):
            bound.arguments[name] = harmless
    uses = uses_of(make.__init__ if inspect.isclass(make) else make)
    missing = [one for name, one in signature.parameters.items() if name not in bound.arguments and _required(one)]
    guesses = {one.name: _guesses(one, uses.get(one.name, _NOTHING_KNOWN), classes) for one in missing}
    unknown = [name for name, tries in guesses.items() if not tries]
    if unknown:
        raise Unknown(_reason(unknown, uses), _to_complete(call, guesses))
    for number in range(max(map(len, guesses.values()), default=1)):
        chosen = {name: tries[min(number, len(tries) - 1)] for name, tries in guesses.items()}
        complete = inspect.BoundArguments(signature, bound.arguments.copy())
        complete.arguments.update({name: guess.value for name, guess in chosen.items()})
        shown = [call.strip().rstrip(",")] if call and call.strip() else []
        shown += [f"{name}={bound.arguments[name]!r}" for name in bound.arguments if name not in given]
        shown += [f"{name}={guess.text}" for name, guess in chosen.items()]
        yield Arguments(*_in_order(complete), ", ".join(shown), tuple(chosen))


def required(make: Callable[..., Any]) -> bool:
    """Whether a class or function cannot be called without arguments."""
    return any(map(_required, _signature(make).parameters.values()))


def _signature(make: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(make)
    except (ValueError, TypeError):
        return inspect.Signature()


def _required(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variable


def _may_download(parameter: inspect.Parameter, harmless: bool | None) -> bool:
    return parameter.default is inspect.Parameter.empty or (
        parameter.default is not harmless and parameter.default != harmless
    )


def _bound(signature: inspect.Signature, call: str | None) -> inspect.BoundArguments:
    args, kwargs = parse_arguments(call or "")
    try:
        return signature.bind_partial(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(name for name in signature.parameters) or "nothing"
        raise LoadError(ErrorKind.CONFIG, f"wrong arguments ({call}): {error}", f"it takes ({takes})") from error


def _in_order(bound: inspect.BoundArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in the order of the signature, as BoundArguments wants them before it tells args from kwargs."""
    arguments = {name: bound.arguments[name] for name in bound.signature.parameters if name in bound.arguments}
    ordered = inspect.BoundArguments(bound.signature, arguments)
    return ordered.args, ordered.kwargs


def _guesses(parameter: inspect.Parameter, use: Use, classes: Sequence[type]) -> list[_Guess]:
    """Values to try, best first; none where any value would be arbitrary."""
    name, annotation = parameter.name, parameter.annotation
    shown = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if annotation is bool or shown == "bool":
        return [_plain(False)]
    if use.is_called or shown.startswith(("type", "Type", "Callable")):
        return _callables(name, classes)
    if use.is_configuration and shown not in ("int", "float"):
        return _configurations(use, classes)
    if annotation is str or shown == "str":
        return [_plain("relu")] if tables.ACTIVATION.fullmatch(name) else []
    numbers = tables.number_for(name)
    if use.is_sequence or shown.lower().startswith(("list", "sequence", "tuple", "iterable")):
        return [_plain(list(tables.list_for(name, use.length)))]
    if tables.ACTIVATION.fullmatch(name) or tables.NORM.fullmatch(name):
        return [*_callables(name, classes), _plain(False)]
    if tables.FLAG.fullmatch(name):
        return [_plain(False)]
    if tables.ONE_BLOCK.fullmatch(name) and shown not in ("int", "float"):
        return _callables(name, classes)
    if numbers is None:
        numbers = _by_use(use) or {"int": (4,), "float": (0.5,)}.get(shown, ())
    lists = [list(tables.list_for(name, 0))] if tables.COUNTS.fullmatch(name) and shown != "int" else []
    known = [_plain(value) for value in (*numbers, *lists)]
    return known if known or use.is_read else [_plain(None)]


def _plain(value: Any) -> _Guess:
    return _Guess(value, repr(value))


def _configurations(use: Use, classes: Sequence[type]) -> list[_Guess]:
    """The file's own classes that can be made without arguments and have every field that is read."""
    fitting = []
    for one in classes:
        if not issubclass(one, nn.Module) and not required(one):
            with suppress(Exception):  # whatever making it takes, it is no guess then
                value = one()
                if all(hasattr(value, attribute) for attribute in use.attributes):
                    fitting.append(_Guess(value, f"{one.__name__}()"))
    return fitting


def _callables(name: str, classes: Sequence[type]) -> list[_Guess]:
    if tables.ACTIVATION.fullmatch(name):
        return [_Guess(nn.ReLU, "nn.ReLU")]
    if tables.NORM.fullmatch(name):
        return [_Guess(nn.BatchNorm2d, "nn.BatchNorm2d"), _Guess(nn.BatchNorm1d, "nn.BatchNorm1d")]
    if tables.BLOCK.fullmatch(name):
        blocks = [one for one in classes if issubclass(one, nn.Module)]
        called_so = [one for one in blocks if hasattr(one, "expansion") or tables.BLOCK.fullmatch(one.__name__.lower())]
        return [_Guess(block, block.__name__) for block in called_so or blocks]
    return []


def _by_use(use: Use) -> tuple[float, ...]:
    """Numbers for a parameter whose name says nothing, by the layer it is handed to."""
    for layer, place in sorted(use.arguments, key=str):
        if place in (0, "in_channels", "in_features") and layer.startswith(("Conv", "Linear")):
            return (16, 3)
        if place in (0, "p") and "Dropout" in layer:
            return (0.5,)
        if layer.startswith(("Conv", "Linear", "BatchNorm", "LayerNorm", "Embedding", "LSTM", "GRU")) and place in (
            0,
            1,
        ):
            return (16,)
        if layer == "range":
            return (2,)
    return (16,) if use.is_number else ()


def _reason(unknown: Sequence[str], uses: Mapping[str, Use]) -> str:
    names = ", ".join(unknown)
    read = [f"{name}.{attribute}" for name in unknown for attribute in uses.get(name, Use()).attributes[:4]]
    known = "argument" if len(unknown) == 1 else "arguments"
    return f"no value is known for {known} {names}" + (f" (it reads {', '.join(read)})" if read else "")


def _to_complete(call: str | None, guesses: Mapping[str, Sequence[_Guess]]) -> str:
    shown = [call] if call else []
    return ", ".join([*shown, *(f"{name}={tries[0].text if tries else '...'}" for name, tries in guesses.items())])
