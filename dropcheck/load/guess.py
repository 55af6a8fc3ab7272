"""What a guess is, what a file offers to guess from, and what annotations say."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import nn

from dropcheck.load.configuration import parser_defaults
from dropcheck.load.stubs import StubType

_UNIONS = (typing.Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class Guess:
    """A value and how it reads in source. ``make`` builds it anew for each model, for modules."""

    value: Any
    text: str | None = None
    make: Callable[[], Any] | None = None

    @property
    def shown(self) -> str:
        return repr(self.value) if self.text is None else self.text

    def taken(self) -> Any:
        """The value to hand over."""
        return self.value if self.make is None else self.make()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a file offers: its module and its classes; ``complete`` builds one of them with guessed arguments."""

    classes: Sequence[type]
    module: ModuleType | None
    complete: Callable[[type, Surroundings], Guess | None]
    depth: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, make: Any, classes: Sequence[type], complete: Callable[[type, Surroundings], Guess | None]
    ) -> Surroundings:
        module = inspect.getmodule(make)
        return cls(classes, module, complete, options=parser_defaults(module))

    @property
    def deeper(self) -> Surroundings:
        return Surroundings(self.classes, self.module, self.complete, self.depth + 1, self.options)

    def named(self, name: str) -> Any:
        return getattr(self.module, name, None)


def resolved(annotation: Any, around: Surroundings) -> Any:
    """An annotation written as a string as what it names, where the file knows that."""
    if isinstance(annotation, str) and around.module is not None:
        written = SimpleNamespace(__annotations__={"it": annotation})
        with suppress(Exception):  # it may name anything, and what is imported for type checkers only is not there
            return typing.get_type_hints(written, vars(around.module))["it"]
    return annotation


def without_none(annotation: Any) -> tuple[Any, bool]:
    """``Optional[int]`` as ``int``, and whether None was among what may be given."""
    inner = typing.get_args(annotation) if typing.get_origin(annotation) in _UNIONS else ()
    kinds = [one for one in inner if one is not type(None)]
    return kinds[0] if len(kinds) == 1 else annotation, len(kinds) < len(inner)


def annotated(name: str, annotation: Any, around: Surroundings) -> Iterator[Guess]:
    """What an annotation leaves to choose from."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is bool or annotation == "bool":
        yield Guess(False)
    elif origin is typing.Literal:
        yield from map(Guess, inner)
    elif origin is type:
        classes = typing.get_args(inner[0]) if typing.get_origin(inner[0]) in _UNIONS else inner
        yield from (Guess(one, one.__name__) for one in classes if inspect.isclass(one) and one is not nn.Module)
    elif (
        not inspect.isclass(annotation)
        or isinstance(annotation, StubType)
        or annotation.__module__ in ("builtins", "typing", "inspect")
    ):
        return
    elif issubclass(annotation, enum.Enum):
        yield from (Guess(one, str(one)) for one in annotation)
    elif annotation.__module__.partition(".")[0] not in (
        "torch",
        "collections",
        "pathlib",
        "numpy",
        "argparse",
        "types",
    ):
        made = around.complete(annotation, around)
        yield from () if made is None else (made,)
