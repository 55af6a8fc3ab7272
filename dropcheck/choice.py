"""Which rules a run takes, and what its settings order about what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dropcheck.config import Settings
from dropcheck.engine import Orders, UnknownCode, check_prefixes, enabled
from dropcheck.plugins import known_rules
from dropcheck.result import AnalysisError
from dropcheck.rule import Rule
from dropcheck.rules import BUILTIN
from dropcheck.source import Comments, UsageError
from dropcheck.suppress import Silence


@dataclass(frozen=True)
class Choice:
    """The rules that run, the codes of all there are, and the plugins that could not be used."""

    rules: tuple[Rule, ...] = ()
    known: frozenset[str] = frozenset()
    errors: tuple[AnalysisError, ...] = ()


def choose(settings: Settings) -> Choice:
    """The rules that the settings select, of those of plugins among them. Raises UsageError for a wrong code."""
    known = known_rules(BUILTIN)
    try:
        rules = enabled(known.rules, settings.select, settings.ignore)
    except UnknownCode as error:
        raise UsageError(str(error)) from error
    by_pattern = [(f"per-file-ignores: {pattern!r}", codes) for pattern, codes in settings.per_file_ignores]
    for key, prefixes in (*by_pattern, ("severity", tuple(prefix for prefix, _ in settings.severity))):
        try:
            check_prefixes(known.rules, prefixes)
        except UnknownCode as error:
            raise UsageError(f"{key}: {error}") from error
    return Choice(rules, known.codes, known.errors)


def orders(
    settings: Settings, choice: Choice, linted: Mapping[str, Comments] | None = None, *, static: bool = False
) -> Orders:
    """What becomes of findings; ``linted`` are the comments of the files that are linted in whole."""
    root = settings.root or Path.cwd()
    known_in = root if settings.baseline is None else settings.baseline.absolute().parent
    return Orders(
        silence=Silence(linted or {}, settings.per_file_ignores, str(root)),
        severity=dict(settings.severity),
        root=str(known_in),
        known=choice.known,
        static=static,
        narrowed=settings.narrowed,
    )
