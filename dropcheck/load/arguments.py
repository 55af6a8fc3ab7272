"""Constructor arguments: the ones given, and guesses for those that are missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from dropcheck.load import tables
from dropcheck.load.failure import LoadError
from dropcheck.load.guess import Guess, Surroundings, resolved
from dropcheck.load.guesses import guesses
from dropcheck.load.signatures import own_signature, signature_of, uses_in
from dropcheck.load.usage import fields_of
from dropcheck.load.use import Use
from dropcheck.result import ErrorKind
from dropcheck.source import parse_arguments

_DOWNLOADS = {"pretrained": False, "weights": None, "pretrained_backbone": False, "weights_backbone": None}
_DEEPEST = 3
"""How many models that want models that want models are guessed."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call: its arguments, what of them was written, and which are guesses.

    ``written`` are the given ones as they read in source.
    """

    bound: inspect.BoundArguments
    written: tuple[str, ...] = ()
    guessed: Mapping[str, Guess] = field(default_factory=dict)

    @property
    def args(self) -> tuple[Any, ...]:
        return self._whole().args

    @property
    def kwargs(self) -> dict[str, Any]:
        return self._whole().kwargs

    @property
    def assumed(self) -> tuple[str, ...]:
        """The names of the guessed ones."""
        return tuple(self.guessed)

    @property
    def text(self) -> str:
        """The arguments as they read in source."""
        return ", ".join((*self.written, *(f"{name}={guess.shown}" for name, guess in self.guessed.items())))

    def call(self, make: Callable[..., Any]) -> Any:
        """What ``make`` gives. Modules among the guessed arguments are built for it alone."""
        whole = self._whole(build=True)
        return make(*whole.args, **whole.kwargs)

    def _whole(self, build: bool = False) -> inspect.BoundArguments:
        chosen = {name: guess.taken() if build else guess.value for name, guess in self.guessed.items()}
        signature = self.bound.signature.parameters
        every = {**self.bound.arguments, **{name: value for name, value in chosen.items() if name in signature}}
        rest = {name: value for name, value in chosen.items() if name not in signature}
        open_end = next((one.name for one in signature.values() if one.kind is one.VAR_KEYWORD), None)
        if open_end is not None and rest:
            every[open_end] = {**rest, **every.get(open_end, {})}
        # In the order of the signature, as BoundArguments wants them before it tells args from kwargs.
        ordered = {name: every[name] for name in self.bound.signature.parameters if name in every}
        return inspect.BoundArguments(self.bound.signature, ordered)


class Unknown(Exception):
    """Arguments nobody gave and no table knows: the message names them, ``call`` is the call to complete.

    ``is_literal``: all of it can be literals.
    """

    def __init__(self, reason: str, call: str, is_literal: bool = True) -> None:
        super().__init__(reason)
        self.call, self.is_literal = call, is_literal


def argument_sets(make: Callable[..., Any], call: str | None, classes: Sequence[type]) -> Iterator[Arguments]:
    """The arguments to call a class or function with, the likeliest first: those given, the others guessed.

    ``call`` is the text of a literal call; ``classes`` are those of the same file: modules among them may be handed
    over as building blocks, others as configurations.

    Raises:
        LoadError: the given arguments do not fit the signature.
        Unknown: an argument is missing that cannot be guessed.
    """
    yield from _sets(make, call, Surroundings.of(make, classes, _completed))


def _sets(make: Callable[..., Any], call: str | None, around: Surroundings) -> Iterator[Arguments]:
    bound = _bound(make, call)
    signature = bound.signature
    written = [call.strip().rstrip(",")] if call and call.strip() else []
    for name, harmless in _DOWNLOADS.items():
        parameter = signature.parameters.get(name)
        if parameter is not None and name not in bound.arguments and _may_download(parameter, harmless):
            bound.arguments[name] = harmless
            written.append(f"{name}={harmless!r}")
    missing = [one for name, one in signature.parameters.items() if name not in bound.arguments and _required(one)]
    open_end = next((one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD), None)
    uses = uses_in(make) if missing or open_end else {}
    tries = {one.name: guesses(one.name, one.annotation, uses, around) for one in missing}
    tries |= {} if open_end is None else _keywords(open_end, uses, signature.parameters, around)
    unknown = [name for name, values in tries.items() if not values]
    if unknown:
        modules = [
            name for name in unknown if _is_module(signature.parameters.get(name), uses.get(name, Use()), around)
        ]
        raise Unknown(_reason(unknown, modules, uses), _to_complete(call, tries), is_literal=not modules)
    for chosen in _combinations(tries):
        yield Arguments(bound, tuple(written), chosen)


def _keywords(
    open_end: str, uses: Mapping[str, Use], known: Iterable[str], around: Surroundings
) -> dict[str, list[Guess]]:
    """Values for what is read of ``**kwargs`` without a default."""
    use = uses.get(open_end, Use())
    wanted = [name for name in use.attributes if name not in use.optional | use.methods and name not in known]
    fields = fields_of(open_end, uses) if use.is_mapping else {}
    return {name: guesses(name, inspect.Parameter.empty, fields, around) for name in wanted if name in fields}


def _combinations(tries: Mapping[str, Sequence[Guess]]) -> Iterator[dict[str, Guess]]:
    """Every parameter's first value, every one's second and so on; then the first of all but one."""
    seen: list[tuple[int, ...]] = []
    longest = max(map(len, tries.values()), default=1)
    rows = [tuple(min(row, len(values) - 1) for values in tries.values()) for row in range(longest)]
    for place, values in enumerate(tries.values()):
        rows += [(*rows[0][:place], number, *rows[0][place + 1 :]) for number in range(1, len(values))]
    for row in rows:
        if row not in seen:
            seen.append(row)
            yield {name: values[number] for (name, values), number in zip(tries.items(), row, strict=True)}


def _completed(made: type, around: Surroundings) -> Guess | None:
    """An object of a class, by arguments of its own; None where they are unknown or do not do."""
    if around.depth >= _DEEPEST:
        return None
    try:
        arguments = next(_sets(made, None, around.deeper))
    except (Unknown, LoadError):
        return None
    text = f"{made.__name__}({arguments.text})"
    if issubclass(made, nn.Module):
        return Guess(None, text, lambda: arguments.call(made))
    with suppress(Exception):  # whatever making it takes, it is no guess then
        return Guess(arguments.call(made), text)
    return None


def required(make: Callable[..., Any]) -> bool:
    """Whether a class or function cannot be called without arguments."""
    return any(map(_required, signature_of(make).parameters.values()))


def _required(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variable


def _may_download(parameter: inspect.Parameter, harmless: bool | None) -> bool:
    return parameter.default is inspect.Parameter.empty or (
        parameter.default is not harmless and parameter.default != harmless
    )


def _bound(make: Callable[..., Any], call: str | None) -> inspect.BoundArguments:
    args, kwargs = parse_arguments(call or "")
    signature = signature_of(make)
    try:
        bound = signature.bind_partial(*args, **kwargs)
        if any(signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL for name in bound.arguments):
            return own_signature(make).bind_partial(*args, **kwargs)  # where *args go, their names are not known
        return bound
    except TypeError as error:
        takes = ", ".join(name for name in signature.parameters) or "nothing"
        raise LoadError(ErrorKind.CONFIG, f"wrong arguments ({call}): {error}", f"it takes ({takes})") from error


def _is_module(parameter: inspect.Parameter | None, use: Use, around: Surroundings) -> bool:
    """Whether what is wanted is somebody's module."""
    annotation = None if parameter is None else resolved(parameter.annotation, around)
    named = parameter is not None and bool(tables.MODULE.fullmatch(parameter.name))
    return use.is_run or named or (isinstance(annotation, type) and issubclass(annotation, nn.Module))


def _reason(unknown: Sequence[str], modules: Sequence[str], uses: Mapping[str, Use]) -> str:
    if modules == unknown:
        return f"it is made around modules that it is given ({', '.join(modules)})"
    names = ", ".join(unknown)
    read = [f"{name}.{attribute}" for name in unknown for attribute in uses.get(name, Use()).attributes[:4]]
    known = "argument" if len(unknown) == 1 else "arguments"
    return f"no value is known for {known} {names}" + (f" (it reads {', '.join(read)})" if read else "")


def _to_complete(call: str | None, guesses: Mapping[str, Sequence[Guess]]) -> str:
    shown = [call] if call else []
    return ", ".join([*shown, *(f"{name}={tries[0].shown if tries else '...'}" for name, tries in guesses.items())])
