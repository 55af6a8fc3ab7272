"""What a rule is, and what it finds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from dropcheck.graph import Graph, Node, Site
from dropcheck.shift import Evidence, Shifts


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return ("info", "warning", "error").index(self.value)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shift ratios, max(Δ, 1/Δ), from which a predicted shift is an error or a warning; below it is info."""

    error: float = 1.25
    warning: float = 1.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at one place.

    ``message`` states the fact with its numbers; ``help`` says what to do. ``op`` and ``norm`` are module paths.
    ``occurrences``: how many instances of the same source line show it (the worst is the one described).
    """

    code: str
    name: str
    severity: Severity
    message: str
    help: str
    site: Site | None
    model: str
    op: str
    norm: str | None = None
    delta: float | None = None
    evidence: Evidence | None = None
    occurrences: int = 1
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A model file that shows a rule at work, or shows that it stays silent.

    ``source`` is a whole Python file (imports of torch, nn and F are put before it); ``expect`` lists every finding
    of the rule, each as ``"LINE: SEVERITY message"``. ``input`` is an input spec such as ``2x3x32x32``.
    """

    title: str
    source: str
    expect: tuple[str, ...] = ()
    input: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule looks at: one captured model with its predicted shifts."""

    target: str
    graph: Graph
    shifts: Shifts
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What reports say of a rule: ``summary`` is the docstring's first line, ``documentation`` all of it (Markdown)."""

    code: str
    name: str
    summary: str
    documentation: str
    help: str


class Rule(ABC):
    """One pattern: documentation, examples and check. Stateless.

    The class docstring is the rule's documentation: the first line says what it finds, then come the headings
    ``## Why is this bad``, ``## Use instead`` (its first paragraph is the findings' help), ``## Near misses`` and
    ``## Source``.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]]

    @abstractmethod
    def check(self, subject: Subject) -> Iterator[Finding]:
        """Every finding of this rule in one model."""
