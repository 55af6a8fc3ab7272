"""Rules of other packages: those their entry points of the group ``dropcheck.rules`` name."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.rule import Rule

GROUP = "dropcheck.rules"
_CODE = re.compile(r"[A-Z]{1,10}[0-9]{3}")


@dataclass(frozen=True)
class Known:
    """All rules there are, sorted by code, and the plugins that give none."""

    rules: tuple[Rule, ...]
    errors: tuple[AnalysisError, ...] = ()

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(rule.code for rule in self.rules)


class _Unusable(Exception):
    """What an entry point names is no rule, or one that cannot be used: why."""


def known_rules(builtin: Sequence[Rule]) -> Known:
    """The built-in rules and those of installed plugins.

    An entry point is a Rule class or instance, or an iterable of them. One that cannot be used is among the errors.
    """
    taken = {rule.code: (rule, "dropcheck") for rule in builtin}
    errors: list[AnalysisError] = []
    for entry in _plugins(tuple((folder, _changed(folder)) for folder in sys.path)):
        with _reported(entry, errors):
            for one in _named(entry):
                with _reported(entry, errors):
                    rule = _usable(one, taken)
                    taken[rule.code] = rule, _owner(entry)
    return Known(tuple(taken[code][0] for code in sorted(taken)), tuple(errors))


@lru_cache(maxsize=1)
def _plugins(installed: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points of our group: looking opens a file of every package, so as long as ``installed`` stays, once."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda entry: (_owner(entry), entry.name)))


def _changed(folder: str) -> int:
    """When a folder last gained or lost a package; 0 if there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


@contextmanager
def _reported(entry: EntryPoint, errors: list[AnalysisError]) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; it is reported
        errors.append(_error(entry, error))


def _named(entry: EntryPoint) -> Iterator[object]:
    loaded = entry.load()
    if isinstance(loaded, Iterable) and not isinstance(loaded, str | type):
        yield from loaded
    else:
        yield loaded


def _usable(one: object, taken: Mapping[str, tuple[Rule, str]]) -> Rule:
    rule = one() if isinstance(one, type) and issubclass(one, Rule) else one
    if not isinstance(rule, Rule):
        raise _Unusable(f"{one!r} is no Rule: expected a subclass of dropcheck.rule.Rule, an instance, or several")
    what = f"{type(rule).__module__}.{type(rule).__qualname__}"
    code, name = getattr(rule, "code", None), getattr(rule, "name", None)
    if not isinstance(code, str) or _CODE.fullmatch(code) is None:
        expected = "expected one to ten capital letters and three digits, as ABC101"
        raise _Unusable(f"{what} has the code {code!r}: {expected}")
    if code in taken:
        other, theirs = taken[code]
        raise _Unusable(f"{what} has the code {code}, which {other.name} of {theirs} has already: choose another one")
    if not isinstance(name, str):
        raise _Unusable(f"{what} has the name {name!r}: expected a text such as 'dropout-before-batchnorm'")
    rule.info()
    return rule


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _error(entry: EntryPoint, error: BaseException) -> AnalysisError:
    reason = str(error) if isinstance(error, _Unusable) else f"{type(error).__name__}: {error}"
    return AnalysisError(
        path=_owner(entry),
        kind=ErrorKind.IMPORT,
        message=f"its rules ({entry.name} = {entry.value}) cannot be used: {reason}",
        hint=f"this is a fault of the plugin: correct or update {_owner(entry)}, or uninstall it",
        details="".join(traceback.format_exception(error)),
    )
