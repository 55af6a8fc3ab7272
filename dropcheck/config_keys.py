"""The keys of ``[tool.dropcheck]`` and what each may hold; whatever else is there raises ValueError."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from dropcheck.job import Build
from dropcheck.nearest import suggest
from dropcheck.rule import Severity, Thresholds
from dropcheck.source import UsageError, parse_arguments, parse_input

_TARGET = re.compile(r"(?P<path>.+\.pyw?):(?P<symbol>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")


class FailOn(StrEnum):
    """The least severity that makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


def table(section: Any, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The section's values, checked, under the names of the dataclass fields. Raises ValueError."""
    if not isinstance(section, Mapping):
        raise ValueError(f"expected a table, got {section!r}")
    values = {}
    for key, value in section.items():
        if key not in keys:
            raise ValueError(f"unknown key {key!r}; {suggest(key, keys)}")
        try:
            values[key.replace("-", "_")] = keys[key](value)
        except (ValueError, UsageError) as error:
            raise ValueError(f"{key}: {error}") from error
    return values


def _string(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected a list of strings, got {value!r}")
    return tuple(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r}")
    return float(value)


def _seconds(value: Any) -> float:
    seconds = _number(value)
    if not seconds > 0.0:
        raise ValueError(f"expected a positive number of seconds, got {value!r}")
    return seconds


def _ratio(value: Any) -> float:
    ratio = _number(value)
    if not ratio >= 1.0:
        raise ValueError(f"expected a shift ratio, a number from 1 up, got {value!r}")
    return ratio


def _fail_on(value: Any) -> FailOn:
    if value not in list(FailOn):
        raise ValueError(f"unknown severity {value!r}; {suggest(str(value), FailOn)}")
    return FailOn(value)


def _thresholds(value: Any) -> Thresholds:
    thresholds = Thresholds(**table(value, {"error": _ratio, "warning": _ratio}))
    if thresholds.warning > thresholds.error:
        raise ValueError(f"warning ({thresholds.warning}) must not be above error ({thresholds.error})")
    return thresholds


def _severity(value: Any) -> Severity:
    if value not in list(Severity):
        raise ValueError(f"unknown severity {value!r}; {suggest(str(value), Severity)}")
    return Severity(value)


def _each(value: Any, convert: Callable[[Any], Any], expected: str) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a table of {expected}, got {value!r}")
    converted = []
    for key, one in value.items():
        try:
            converted.append((key, convert(one)))
        except ValueError as error:
            raise ValueError(f"{key!r}: {error}") from error
    return tuple(converted)


def _severities(value: Any) -> tuple[tuple[str, Severity], ...]:
    return _each(value, _severity, "codes and severities")


def _codes_by_pattern(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return _each(value, _strings, "file patterns and lists of codes")


def _target(value: Any) -> tuple[Path, str]:
    match = _TARGET.fullmatch(_string(value))
    if match is None:
        raise ValueError(f"expected file.py:Symbol, without arguments, got {value!r}")
    return Path(match["path"]), match["symbol"]


def _arguments(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'expected the text of a call\'s arguments, such as "depth=20, p=0.5", got {value!r}')
    parse_arguments(value)
    return value


def _input(value: Any) -> str:
    parse_input(_string(value))
    return str(value)


_MODEL: Mapping[str, Callable[[Any], Any]] = {
    "target": _target,
    "arguments": _arguments,
    "input": _input,
    "weights": _string,
}


def _models(value: Any) -> tuple[tuple[Path, Build], ...]:
    """The file of each model, relative to the configuration file, and how the model is built."""
    if not isinstance(value, list):
        raise ValueError(f"expected [[tool.dropcheck.models]] tables, got {value!r}")
    models = []
    for number, one in enumerate(value, start=1):
        try:
            given = table(one, _MODEL)
            if "target" not in given:
                raise ValueError("expected a target, such as nets.py:Net")
        except ValueError as error:
            raise ValueError(f"table {number}: {error}") from error
        file, symbol = given["target"]
        models.append((file, Build(symbol, given.get("arguments"), given.get("input"), given.get("weights"))))
    return tuple(models)


KEYS: Mapping[str, Callable[[Any], Any]] = {
    "select": _strings,
    "ignore": _strings,
    "per-file-ignores": _codes_by_pattern,
    "severity": _severities,
    "thresholds": _thresholds,
    "models": _models,
    "exclude": _strings,
    "fail-on": _fail_on,
    "timeout": _seconds,
    "baseline": lambda value: Path(_string(value)),
}
"""What may stand in ``[tool.dropcheck]``."""
