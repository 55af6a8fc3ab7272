"""``[tool.dropcheck]`` in pyproject.toml, or dropcheck.toml, as one frozen Settings."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dropcheck.config_keys import KEYS, FailOn, table
from dropcheck.job import Build
from dropcheck.rule import Severity, Thresholds

__all__ = ["ConfigError", "FailOn", "Settings", "load_settings"]


class ConfigError(Exception):
    """A configuration that dropcheck does not understand: which file, which key, what was expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked to do.

    ``select`` and ``ignore`` are prefixes of rule codes, an empty ``select`` takes every rule that is on by default;
    ``per_file_ignores`` maps patterns of files to such prefixes, ``severity`` such prefixes to what their findings are,
    ``exclude`` are patterns as in .gitignore. ``models`` are files with how to build a model in them; ``timeout`` is
    seconds per file, > 0; ``baseline`` is a file of known findings. Patterns are relative to ``root``, the directory of
    the configuration file, or else to the working directory. ``narrowed``: rules were chosen for this run alone.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fail_on: FailOn = FailOn.WARNING
    timeout: float = 60.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    severity: tuple[tuple[str, Severity], ...] = ()
    models: tuple[tuple[Path, Build], ...] = ()
    baseline: Path | None = None
    root: Path | None = None
    narrowed: bool = False

    def overruled(
        self,
        select: Iterable[str] | None = None,
        ignore: Iterable[str] | None = None,
        fail_on: str | None = None,
        timeout: float | None = None,
        baseline: Path | None = None,
    ) -> Settings:
        """The settings with what a command line says, where it says something; each text of codes may hold several."""
        spoken: dict[str, Any] = {
            "select": _codes(select),
            "ignore": _codes(ignore),
            "fail_on": None if fail_on is None else FailOn(fail_on),
            "timeout": timeout,
            "baseline": baseline,
        }
        given = {name: value for name, value in spoken.items() if value is not None}
        return replace(self, **given, narrowed=self.narrowed or bool(given.keys() & {"select", "ignore"}))


def _codes(texts: Iterable[str] | None) -> tuple[str, ...] | None:
    """Codes may stand in one text, with commas between them and behind the last."""
    if texts is None:
        return None
    return tuple(code.strip() for text in texts for code in text.rstrip(", ").split(",")) or None


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
        settings = Settings(**table(section, KEYS), root=Path(os.path.abspath(file)).parent)
        return _located(settings, settings.root or Path())
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error


def _located(settings: Settings, root: Path) -> Settings:
    """The settings with paths that hold wherever dropcheck is started. Raises ValueError for a model without a file."""
    models = []
    for file, build in settings.models:
        weights = None if build.weights is None else str(root / build.weights)
        for named in filter(None, (str(root / file), weights)):
            if not os.path.isfile(named):
                raise ValueError(f"models: there is no file {named}")
        models.append((root / file, replace(build, weights=weights)))
    baseline = None if settings.baseline is None else root / settings.baseline
    return replace(settings, models=tuple(models), baseline=baseline)
