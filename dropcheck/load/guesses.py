"""Values for one constructor parameter that has none, the likeliest first."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import nn

from dropcheck.load import tables
from dropcheck.load.configuration import Fields, suggested
from dropcheck.load.guess import Guess, Surroundings, annotated, resolved, without_none
from dropcheck.load.usage import fields_of, uses_of
from dropcheck.load.use import Use

_DROPS = (
    "Dropout",
    "DropPath",
    "StochasticDepth",
    "dropout",
    "drop_path",
    "stochastic_depth",
    "DropBlock",
    "alpha_dropout",
)
_WIDE = ("Conv", "Linear", "BatchNorm", "LayerNorm", "Embedding", "LSTM", "GRU", "GroupNorm", "InstanceNorm")
_SEQUENCES = ("list", "sequence", "tuple", "iterable")
_DEEPEST = 4


def guesses(name: str, annotation: Any, uses: Mapping[str, Use], around: Surroundings) -> list[Guess]:
    """Values to try, best first; none where any value would be arbitrary."""
    use = _followed(uses.get(name, Use(is_read=not uses)), around)
    kind, may_be_none = without_none(resolved(annotation, around))
    found = list(annotated(name, kind, around)) or _likely(name, kind, use, uses, around)
    return [*found, Guess(None)] if may_be_none else found


def _likely(name: str, annotation: Any, use: Use, uses: Mapping[str, Use], around: Surroundings) -> list[Guess]:
    """Values for a parameter whose annotation leaves them open."""
    shown = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if any(_keys(around.named(table)) for table in use.tables):
        return _texts(name, use, around)
    if use.is_called or shown.startswith(("type", "Type", "Callable")):
        return _callables(name, around.classes) or _classes(name, around.classes)
    if inspect.isclass(annotation) and issubclass(annotation, nn.Module):
        return _modules(name, around)
    if use.is_run and not tables.ACTIVATION.fullmatch(name):
        return _modules(name, around)
    if use.is_configuration and shown not in ("int", "float"):
        return _configurations(name, use, uses, around)
    if shown == "str" or (use.is_text and shown not in ("int", "float")):
        return _texts(name, use, around)
    return _values(name, shown, use, around) or _modules(name, around)


def _values(name: str, shown: str, use: Use, around: Surroundings) -> list[Guess]:
    if name in around.options and around.options[name] is not None:
        return [Guess(around.options[name])]
    if use.is_tensor:
        return [Guess(torch.zeros(100, 64), "torch.zeros(100, 64)")]
    if tables.MODULE.fullmatch(name) and shown not in ("int", "float") and not (use.is_number or use.is_sequence):
        return []
    if (use.is_sequence and shown not in ("int", "float")) or shown.lower().startswith(_SEQUENCES):
        return [_entries(name, use)]
    if tables.ACTIVATION.fullmatch(name) or tables.NORM.fullmatch(name):
        return [*_callables(name, around.classes), Guess(False)]
    if shown not in ("int", "float") and not _is_rate(use):
        if tables.FLAG.fullmatch(name):
            return [Guess(False)]
        if tables.ONE_BLOCK.fullmatch(name):
            return _callables(name, around.classes)
        if tables.DEVICE.fullmatch(name):
            return [Guess("cpu")]
    if use.is_tested and not (use.is_number or use.arguments or shown in ("int", "float")):
        return [Guess(False), Guess(True)]
    numbers = (0.1,) if _is_rate(use) and shown != "int" else tables.number_for(name)
    if numbers is None:
        numbers = _by_use(use) or {"int": (4,), "float": (0.5,)}.get(shown, ())
    lists = [list(tables.list_for(name, 0))] if tables.COUNTS.fullmatch(name) and shown != "int" else []
    known = [Guess(value) for value in (*numbers, *lists)]
    return known if known or use.is_read else [Guess(None)]


def _entries(name: str, use: Use) -> Guess:
    if tables.INPUT_SHAPE.fullmatch(name):
        return Guess((3, 32, 32)[-use.length :] if use.length in (2, 3) else (3, 32, 32))
    if use.entries:
        return Guess([tuple((tables.number_for(one) or (16,))[0] for one in use.entries)] * max(2, use.length))
    return Guess(list(tables.list_for(name, use.length)))


def _followed(use: Use, around: Surroundings, depth: int = 0) -> Use:
    """With what classes and functions of the file, and of those beside it, do with the argument that it becomes."""
    whole = Use()
    whole.add(use)
    for callee, place in sorted(use.arguments, key=str) if depth < _DEEPEST else ():
        other = around.named(callee)
        if inspect.isclass(other) or inspect.isfunction(other):
            home = inspect.getmodule(other)
            if not _is_near(home, around.module):
                continue
            theirs = uses_of(other)
            names = (
                list(inspect.signature(other.__init__).parameters)[1:]
                if inspect.isclass(other)
                else list(inspect.signature(other).parameters)
            )
            name = names[place] if isinstance(place, int) and place < len(names) else place
            if name in theirs:
                whole.add(_followed(theirs[str(name)], replace(around, module=home), depth + 1))
    return whole


def _is_near(module: ModuleType | None, here: ModuleType | None) -> bool:
    """Whether a module is this one, of the same package, or in a file beside or below this one's."""
    if module is None or here is None or module is here:
        return module is here
    if here.__name__.partition(".")[0] == module.__name__.partition(".")[0]:
        return True
    own, file = (getattr(one, "__file__", None) or "" for one in (here, module))
    place = os.path.dirname(own)
    return bool(place) and file.startswith(place + os.sep)


def _is_rate(use: Use) -> bool:
    return any(place in (0, 1, "p", "drop_prob", "rate") and layer.startswith(_DROPS) for layer, place in use.arguments)


def _by_use(use: Use) -> tuple[float, ...]:
    """Numbers for a parameter whose name says nothing, by the layer it is handed to."""
    for layer, place in sorted(use.arguments, key=str):
        if place in (0, "in_channels", "in_features") and layer.startswith(("Conv", "Linear")):
            return (16, 3)
        if layer.startswith(_WIDE) and place in (0, 1):
            return (16,)
        if layer == "range":
            return (2,)
    return (16,) if use.is_number else ()


def _texts(name: str, use: Use, around: Surroundings) -> list[Guess]:
    known = [text for table in use.tables for text in _keys(around.named(table))]
    texts = list(dict.fromkeys([*use.texts, *known]))[:6]
    if name in around.options and around.options[name] is not None:
        return [Guess(around.options[name])]
    if not texts and tables.DEVICE.fullmatch(name):
        return [Guess("cpu")]
    if not texts and tables.ACTIVATION.fullmatch(name):
        return [Guess("relu")]
    return [Guess(text) for text in texts]


def _keys(table: Any) -> list[str]:
    return [key for key in table if isinstance(key, str)] if isinstance(table, Mapping) else []


def _configurations(name: str, use: Use, uses: Mapping[str, Use], around: Surroundings) -> list[Guess]:
    """The file's own configurations that have every field that is read, then one that is made up."""
    wanted = set(use.attributes) - use.optional - use.methods
    found = []
    for key, value in vars(around.module).items() if around.module is not None else ():
        if not isinstance(value, type | ModuleType) and not callable(value) and not key.startswith("__") and wanted:
            keys = set(value) if isinstance(value, dict) else set(getattr(value, "__dict__", ()))
            if wanted <= keys:
                found.append(Guess(value, key))
    for one in around.classes:
        if not issubclass(one, nn.Module) and wanted:
            made = around.complete(one, around)
            if made is not None and all(hasattr(made.value, attribute) for attribute in wanted):
                found.append(made)
    return found or _made_up(name, use, uses, around)


def _made_up(name: str, use: Use, uses: Mapping[str, Use], around: Surroundings) -> list[Guess]:
    fields: dict[str, Use] = {}
    for known in (uses, *(uses_of(one) for one in around.classes if issubclass(one, nn.Module))):
        for root in [
            path for path, found in known.items() if path.isidentifier() and path != "self" and found.is_configuration
        ]:
            for path, found in fields_of(root, known).items():
                fields.setdefault(path, Use()).add(found)

    def suggest(field: str, used: Use) -> Any:
        tries = guesses(field, inspect.Parameter.empty, {field: used}, around) if around.depth < _DEEPEST else []
        if not tries:
            raise AttributeError(field)
        return tries[0].taken()

    value = suggested(name, {name: use, **{f"{name}.{path}": found for path, found in fields.items()}}, suggest)
    missing = [field for field in use.attributes if field not in use.optional and not hasattr(value, field)]
    return [Guess(value)] if isinstance(value, Fields) and not missing else []


def _callables(name: str, classes: Sequence[type]) -> list[Guess]:
    if tables.ACTIVATION.fullmatch(name):
        return [Guess(nn.ReLU, "nn.ReLU"), Guess(nn.functional.relu, "nn.functional.relu")]
    if tables.NORM.fullmatch(name):
        return [Guess(nn.BatchNorm2d, "nn.BatchNorm2d"), Guess(nn.BatchNorm1d, "nn.BatchNorm1d")]
    if tables.BLOCK.fullmatch(name):
        blocks = [one for one in classes if issubclass(one, nn.Module)]
        called_so = [one for one in blocks if hasattr(one, "expansion") or tables.BLOCK.fullmatch(one.__name__.lower())]
        return [Guess(block, block.__name__) for block in called_so or blocks]
    return []


def _modules(name: str, around: Surroundings) -> list[Guess]:
    """The file's own modules that are called like the parameter, built."""
    plain = name.lower().replace("_", "").rstrip("0123456789")
    fitting = [one for one in around.classes if issubclass(one, nn.Module) and plain in one.__name__.lower()]
    made = [around.complete(one, around) for one in fitting[:2] if len(plain) > 3]
    return [one for one in made if one is not None]


def _classes(name: str, classes: Sequence[type]) -> list[Guess]:
    """The file's own modules, those called like the parameter first."""
    plain = name.lower().replace("_", "")
    models = [one for one in classes if issubclass(one, nn.Module)]
    models.sort(key=lambda one: one.__name__.lower() not in plain and plain not in one.__name__.lower())
    return [Guess(one, one.__name__) for one in models[:4]]
