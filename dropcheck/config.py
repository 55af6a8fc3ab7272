"""``[tool.dropcheck]`` in pyproject.toml, or dropcheck.toml, as one frozen Settings."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from dropcheck.nearest import suggest
from dropcheck.rule import Thresholds


class ConfigError(Exception):
    """A configuration that dropcheck does not understand: which file, which key, what was expected."""


class FailOn(StrEnum):
    """The least severity that makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked to do.

    ``select`` and ``ignore`` are prefixes of rule codes, an empty ``select`` takes every rule; ``exclude`` are patterns
    as in .gitignore, relative to the working directory; ``timeout`` is seconds per file, > 0.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.WARNING
    timeout: float = 60.0
    thresholds: Thresholds = field(default_factory=Thresholds)

    def overruled(
        self,
        select: Iterable[str] | None = None,
        ignore: Iterable[str] | None = None,
        fail_on: str | None = None,
        timeout: float | None = None,
    ) -> Settings:
        """The settings with what a command line says, where it says something; each text of codes may hold several."""
        spoken: dict[str, Any] = {
            "select": _codes(select),
            "ignore": _codes(ignore),
            "fail_on": None if fail_on is None else FailOn(fail_on),
            "timeout": timeout,
        }
        return replace(self, **{name: value for name, value in spoken.items() if value is not None})


def _codes(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(code.strip() for text in texts for code in text.split(",")) or None


def load_settings(file: Path | None, directory: Path) -> Settings:
    """The settings in ``file``, else in the nearest configuration at or above ``directory``, else the defaults.

    In one directory dropcheck.toml comes before pyproject.toml; a pyproject.toml without ``[tool.dropcheck]`` is passed
    over. Raises ConfigError.
    """
    if file is not None:
        return _settings(file, _section(file) or {})
    for place in (directory, *directory.parents):
        for candidate in (place / "dropcheck.toml", place / "pyproject.toml"):
            if candidate.is_file() and (section := _section(candidate)) is not None:
                return _settings(candidate, section)
    return Settings()


def _section(file: Path) -> Mapping[str, Any] | None:
    """The table that speaks of dropcheck; None for a pyproject.toml without one."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    if file.name != "pyproject.toml":
        return document
    tool = document.get("tool", {})
    return tool.get("dropcheck") if isinstance(tool, Mapping) else None


def _settings(file: Path, section: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**_table(section, _SETTINGS))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _table(section: Any, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The section's values, checked, under the names of the dataclass fields. Raises ValueError."""
    if not isinstance(section, Mapping):
        raise ValueError(f"expected a table, got {section!r}")
    values = {}
    for key, value in section.items():
        if key not in keys:
            raise ValueError(f"unknown key {key!r}; {suggest(key, keys)}")
        try:
            values[key.replace("-", "_")] = keys[key](value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return values


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
    thresholds = Thresholds(**_table(value, {"error": _ratio, "warning": _ratio}))
    if thresholds.warning > thresholds.error:
        raise ValueError(f"warning ({thresholds.warning}) must not be above error ({thresholds.error})")
    return thresholds


_SETTINGS: Mapping[str, Callable[[Any], Any]] = {
    "select": _strings,
    "ignore": _strings,
    "exclude": _strings,
    "fail-on": _fail_on,
    "timeout": _seconds,
    "thresholds": _thresholds,
}
