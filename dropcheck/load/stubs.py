"""Stand-ins for packages that are not installed: a file can be imported, and only what really needs them fails.

Whatever is there is never replaced, and nothing computes with a stand-in: one that is given a tensor, or that anything
is calculated with after the import, raises MissingPackage.
"""

from __future__ import annotations

import re
import sys
import traceback
from abc import ABCMeta
from collections.abc import Iterator
from functools import cache
from types import FrameType, FunctionType, ModuleType
from typing import Any

from torch import Tensor, fx, nn

from dropcheck.load.known_bases import KNOWN_BASES

NOT_INSTALLED = "is not installed"


class MissingPackage(ModuleNotFoundError):
    """Something of a package that is not installed was to do something."""

    def __init__(self, dotted: str) -> None:
        package = dotted.partition(".")[0]
        super().__init__(f"it needs {dotted}, and {package!r} {NOT_INSTALLED}", name=package)


class Importing:
    """Whether a file is being imported: what a stand-in is asked then matters only where it is used later."""

    active = False


class StubType(ABCMeta):
    """The type of every attribute of a package that is not there: a class, so that it can be derived from.

    Together with abstract classes, too.
    """

    dotted = ""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or not cls.dotted or "_is_stub" not in vars(cls):
            raise AttributeError(name)
        return stub(f"{cls.dotted}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if "_is_stub" in vars(cls):
            return _called(cls.dotted, args, kwargs)
        return super().__call__(*args, **kwargs)

    def __getitem__(cls, _: Any) -> Any:
        return cls

    def __or__(cls, _: Any) -> Any:
        return cls

    __ror__ = __or__

    def __iter__(cls) -> Iterator[Any]:
        raise MissingPackage(cls.dotted)


class Stub:
    """What a stand-in gives when it is called without a tensor."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(f"{self.dotted}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _called(self.dotted, args, kwargs)

    def __bool__(self) -> bool:
        _refuses(self)
        return True

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return (stub(self.dotted),)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        return None


MENTIONED = r"\bStub(Type)?\b"
"""In the message of what complains about being given a stand-in."""


def _refuses(self: Any, *_: Any) -> Any:
    """What happens to anything but calls."""
    if Importing.active:
        return self
    raise MissingPackage(self.dotted)


def _items(self: Any) -> Iterator[Any]:
    raise MissingPackage(self.dotted)


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "matmul", "mod", "pow", "and")
_OTHERS = ("lt", "gt", "le", "ge", "neg", "invert")
for _operator in (*_ARITHMETIC, *(f"r{name}" for name in _ARITHMETIC), *_OTHERS):
    setattr(Stub, f"__{_operator}__", _refuses)
    setattr(StubType, f"__{_operator}__", _refuses)
for _name, _does in {"getitem": _refuses, "or": _refuses, "iter": _items}.items():
    setattr(Stub, f"__{_name}__", _does)


def _derived(cls: type, /, **_: Any) -> None:
    """A class that derives from a stand-in may say to it what it likes."""


@cache
def stub(dotted: str) -> Any:
    """What stands for an attribute of a missing package."""
    known = KNOWN_BASES.get((dotted.partition(".")[0], dotted.rpartition(".")[2]))
    if known is not None:
        return known
    module, _, name = dotted.rpartition(".")
    if name.endswith(("Meta", "Metaclass")):  # only a type of classes can be one
        return type(name, (StubType,), {"__module__": module})
    made = StubType(name, (), {"_is_stub": True, "__module__": module, "__init_subclass__": classmethod(_derived)})
    made.dotted = dotted
    return made


def _called(dotted: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    caller = sys._getframe(2)
    if len(args) == 1 and not kwargs and _defines(caller, args[0]):
        return args[0]  # a decorator: what it decorates stays what it is
    if any(isinstance(one, Tensor | fx.Proxy) for one in (*args, *kwargs.values())):
        raise MissingPackage(dotted)
    return Stub(dotted)


def _defines(caller: FrameType, value: Any) -> bool:
    name = caller.f_globals.get("__name__")
    return callable(value) and hasattr(value, "__qualname__") and getattr(value, "__module__", None) == name


def blamed(error: Exception) -> str | None:
    """What of a missing package a call failed for that was handed a stand-in; None if none was the reason."""
    if re.search(MENTIONED, str(error)):
        for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
            for value in frame.f_locals.values():
                for one in value if isinstance(value, tuple | list) else (value,):
                    if isinstance(one, Stub | StubType) and one.dotted:
                        return one.dotted
    return None


def missing_base(value: object) -> str | None:
    """What of a missing package a class derives from that would be a model, None for any other."""
    if not isinstance(value, StubType) or "_is_stub" in vars(value) or issubclass(value, nn.Module):
        return None
    if "forward" not in vars(value) and not _makes_layers(vars(value).get("__init__")):
        return None
    return next((one.dotted for one in value.__mro__ if isinstance(one, StubType) and "_is_stub" in vars(one)), None)


def _makes_layers(constructor: object) -> bool:
    """Whether the code of a constructor names a layer, such as ``nn.Linear`` or an imported ``Linear``; no loss."""
    if not isinstance(constructor, FunctionType):
        return False
    named = [constructor.__globals__.get(name) for name in constructor.__code__.co_names]
    for one in named:  # which grows by what modules among them have of these names
        if isinstance(one, ModuleType):
            inner = (vars(one).get(name) for name in constructor.__code__.co_names)
            named += [found for found in inner if not any(found is other for other in named)]
    modules = [one for one in named if isinstance(one, type) and issubclass(one, nn.Module)]
    return any(one.__module__ != nn.modules.loss.__name__ for one in modules)
