"""Stand-ins for configuration objects: whatever field is read has a value that its name or its use suggests."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

from dropcheck.load.usage import fields_of
from dropcheck.load.use import Use

Suggest = Callable[[str, Use], Any]
"""A value for a field of this name, used like this. Raises AttributeError where none is known."""


class Fields(SimpleNamespace):
    """A configuration of which nobody knows the values, as an object and as a mapping.

    Fields are made up when they are first read, except those that are optional: their readers have defaults.
    """

    def __init__(self, suggest: Suggest, uses: Mapping[str, Use], use: Use) -> None:
        super().__init__()
        self.__dict__.update(_hidden=(suggest, uses, use))

    def __getattr__(self, name: str) -> Any:
        suggest, uses, use = self.__dict__["_hidden"]
        if name.startswith("__") or name in use.optional:
            raise AttributeError(name)
        value = suggested(name, uses, suggest)
        setattr(self, name, value)
        return value

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except (AttributeError, TypeError):
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def get(self, name: str, default: Any = None) -> Any:
        return self.__dict__.get(name, default)

    def keys(self) -> list[str]:
        return [name for name in self.__dict__ if name != "_hidden"]

    def values(self) -> list[Any]:
        return [self.__dict__[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        return [(name, self.__dict__[name]) for name in self.keys()]

    def __repr__(self) -> str:
        if self.__dict__["_hidden"][2].is_mapping:
            return repr(dict(self.items()))
        return f"SimpleNamespace({', '.join(f'{name}={value!r}' for name, value in self.items())})"


def suggested(name: str, uses: Mapping[str, Use], suggest: Suggest) -> Any:
    """A field's value, a configuration of its own where fields of it are read."""
    use = uses.get(name, Use(is_read=True))
    if use.is_configuration:
        inner = Fields(suggest, fields_of(name, uses), use)
        for field in use.attributes:
            if field not in use.optional and field not in use.methods:
                with suppress(AttributeError):
                    getattr(inner, field)
        return inner
    return suggest(name, use)


def parser_defaults(module: ModuleType | None) -> dict[str, Any]:
    """What a file's ``add_argument`` calls say of its options: their defaults, by the name of the attribute."""
    try:
        tree = ast.parse(inspect.getsource(module)) if module is not None else ast.Module([], [])
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            with suppress(ValueError, SyntaxError):
                found.update(_option(node))
    return found


def _option(call: ast.Call) -> dict[str, Any]:
    """Empty for an option without a default."""
    names = [ast.literal_eval(one) for one in call.args]
    keywords = {one.arg: one.value for one in call.keywords}
    longest = max((name for name in names if isinstance(name, str)), key=len, default="")
    name = ast.literal_eval(keywords["dest"]) if "dest" in keywords else longest.lstrip("-").replace("-", "_")
    if "default" in keywords:
        return {name: ast.literal_eval(keywords["default"])}
    action = ast.literal_eval(keywords["action"]) if "action" in keywords else ""
    return {name: action == "store_false"} if action in ("store_true", "store_false") else {}
