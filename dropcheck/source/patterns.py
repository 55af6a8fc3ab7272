"""Patterns as in .gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?s)/\*\*/|\A\*\*/|/\*\*\Z|\*+|\?|\[(?P<not>[!^]?)(?P<set>\]?[^\]]*)\]|\\(?P<plain>.)|(?P<other>.)"
)
_FIXED = {"/**/": "/(?:.*/)?", "**/": "(?:.*/)?", "/**": "/.+", "?": "[^/]"}


@dataclass(frozen=True, slots=True)
class _Pattern:
    expression: re.Pattern[str]
    directories_only: bool
    keeps: bool


class Patterns:
    """Tells which paths the patterns leave out; the last pattern that matches decides, ``!`` takes back in."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [pattern for text in patterns if (pattern := _compiled(text)) is not None]

    def __call__(self, path: str, *, directory: bool) -> bool:
        """Whether ``path``, relative and with forward slashes, is left out. Its parents are not looked at."""
        for pattern in reversed(self._patterns):
            if (directory or not pattern.directories_only) and pattern.expression.fullmatch(path):
                return not pattern.keeps
        return False


def _compiled(text: str) -> _Pattern | None:
    text = text.rstrip() if not text.endswith("\\ ") else text
    if not text or text.startswith("#"):
        return None
    keeps = text.startswith("!")
    text = text[keeps:]
    directories_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    expression = "".join(map(_translated, _TOKEN.finditer(text.removeprefix("./").lstrip("/"))))
    return _Pattern(re.compile(expression if anchored else f"(?:.*/)?{expression}", re.DOTALL), directories_only, keeps)


def _translated(token: re.Match[str]) -> str:
    text = token[0]
    if text in _FIXED:
        return _FIXED[text]
    if token["set"] is not None:
        negated, members = token["not"], token["set"].replace("\\", r"\\").replace("[", r"\[")
        return f"(?!/)[{'^' if negated else ''}{members}]"
    if text.startswith("*"):
        return "[^/]*"
    return re.escape(token["plain"] or token["other"])
