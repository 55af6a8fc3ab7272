"""The models of a census: those that a list says how to build, and every model class of an installed package."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model to try.

    ``build`` is an expression for it in the namespace that ``setup`` leaves, ``inputs`` are specs of its forward's
    positional arguments. Without ``build`` it is a class, ``module:name``, for which arguments and input are guessed.
    """

    zoo: str
    name: str
    setup: str = ""
    build: str | None = None
    inputs: tuple[Any, ...] = ()
    kwargs: Spec = field(default_factory=dict)

    def namespace(self) -> dict[str, Any]:
        """The names that ``build`` and inputs may use. Runs foreign imports."""
        names: dict[str, Any] = {"torch": torch, "nn": nn}
        exec(self.setup, names)
        return names

    def model(self, names: dict[str, Any]) -> nn.Module:
        assert self.build is not None
        built: nn.Module = eval(self.build, names)
        return built

    def example(self, names: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for its forward."""
        args = tuple(_value(spec, names) for spec in self.inputs)
        return args, {key: _value(spec, names) for key, spec in self.kwargs.items()}


def _value(spec: Any, names: dict[str, Any]) -> Any:
    """``[shape, dtype]``, ``[shape, dtype, high]`` for integers in [0, high), or ``{"expr": …}``."""
    if isinstance(spec, Mapping):
        return eval(spec["expr"], names)
    shape, dtype, *high = spec
    kind: torch.dtype = getattr(torch, dtype)
    return torch.randn(shape, dtype=kind) if kind.is_floating_point else _integers(shape, kind, *high)


def _integers(shape: Sequence[int], dtype: torch.dtype, high: int = 2) -> Tensor:
    return torch.randint(0, high, tuple(shape), dtype=dtype)


def listed(file: Path) -> Iterator[Entry]:
    """The models of a file with a JSON object a line."""
    for text in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        inputs, kwargs = tuple(row["input"]), row.get("kwargs") or {}
        yield Entry(row["package"], row["name"], row["setup"], row["build"], inputs, kwargs)


def classes(package: str) -> Iterator[Entry]:
    """Every public nn.Module class that a module of an installed package defines. Imports what can be imported."""
    root = importlib.import_module(package)
    walked = pkgutil.walk_packages(getattr(root, "__path__", ()), f"{package}.", onerror=lambda _: None)
    for module in (package, *(one.name for one in walked)):
        yield from (Entry(package, f"{module}:{name}") for name in _defined(module))


def _defined(module: str) -> list[str]:
    try:
        found = vars(importlib.import_module(module))
    except Exception:  # noqa: BLE001 - a part of a package whose own requirements are not there
        return []
    return [
        name
        for name, value in found.items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module and name[0] != "_"
    ]
