"""What a rule is, and what it finds."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from inspect import cleandoc
from math import inf
from typing import TYPE_CHECKING, ClassVar

from dropcheck.graph import Graph, Node, Site
from dropcheck.shift import Evidence, LayerStatistics, Shifts

if TYPE_CHECKING:
    from dropcheck.syntax import SourceFile


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return _RANKS[self]


_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR  # to get at members of enums takes long
_PRIOR = Evidence.PRIOR
_RANKS = {_INFO: 0, _WARNING: 1, _ERROR: 2}


_ROUNDING = 1.0 + 1e-9
"""What floating-point arithmetic may take off a ratio that is exactly a threshold: 1/.8 is 1.25."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shift ratios, max(Δ, 1/Δ), from which a predicted shift is an error or a warning; below it is info."""

    error: float = 1.25
    warning: float = 1.05

    def severity(self, delta: float, at_most: Severity = _ERROR) -> Severity:
        """How serious a predicted Δ ≥ 0 is."""
        reached = ratio(delta) * _ROUNDING
        severity = _ERROR if reached >= self.error else _WARNING if reached >= self.warning else _INFO
        return severity if at_most is _ERROR or severity.rank <= at_most.rank else at_most


def ratio(delta: float) -> float:
    """The shift ratio, infinite where evaluation or training has no variance at all."""
    return delta if delta >= 1.0 else 1.0 / delta if delta > 0.0 else inf


class Placed:
    """Whatever has a place in the source."""

    __slots__ = ()
    site: Site | None

    @property
    def location(self) -> Site | None:
        """The ``site``, as the JSON calls it."""
        return self.site


@dataclass(frozen=True, slots=True)
class Finding(Placed):
    """One fault at one place.

    ``message`` states the fact with its numbers; ``help`` says what to do. ``op`` and ``norm`` are module paths, or, of
    what was found in the source alone, ``op`` is the enclosing function with what it calls: ``Net.forward/dropout``.
    ``built``: where the layer at fault was constructed, if that is known and not the ``site``.
    ``occurrences``: how many instances of the same source line show it (the worst is the one described).
    ``said``: the ``op`` that a fault seen in a model has in the source's text, if it is seen there too.
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
    built: Site | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A model file that shows a rule at work, or shows that it stays silent.

    ``source`` is a whole Python file (imports of torch, nn and F are put before it); ``expect`` lists every finding
    of the rule, each as ``"LINE: SEVERITY message"``. ``input`` is an input spec such as ``2x3x32x32``.
    ``weights``: the Δ that trained weights show at norms, by module path, all dropouts upstream having equal shares in
    it; without any, the code alone is judged.
    """

    title: str
    source: str
    expect: tuple[str, ...] = ()
    input: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a rule looks at: one captured model with its predicted shifts.

    ``layers`` are its weight layers by module path, as far as their weights are known. ``guessed`` are the numbers it
    was built with in place of constructor arguments that nobody gave.
    """

    target: str
    graph: Graph
    shifts: Shifts
    thresholds: Thresholds
    layers: Mapping[str, LayerStatistics] = field(default_factory=dict)
    guessed: tuple[float, ...] = ()

    def is_guessed(self, rate: float) -> bool:
        """Whether a drop rate may come from a guess, as it is or as its complement to 1: nobody wrote it then."""
        return any(abs(rate - guess) < 1e-9 or abs(rate - (1.0 - guess)) < 1e-9 for guess in self.guessed)

    def severity(self, delta: float) -> Severity:
        """How serious a Δ is where weights decide about it: seen from the code alone, never more than a warning."""
        return self.thresholds.severity(delta, _WARNING if self.shifts.evidence is _PRIOR else _ERROR)

    def severity_of_branches(self, delta: float) -> Severity:
        """How serious a Δ is that whole branches make when they are dropped (stochastic depth).

        The code does not tell how strong a trained branch is beside its stream: seen from the code alone, what would be
        an error counts as a warning, and what would be a warning as info.
        """
        if self.shifts.evidence is Evidence.PRIOR and self.thresholds.severity(delta) is not _ERROR:
            return Severity.INFO
        return self.severity(delta)


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What reports say of a rule.

    ``summary`` is the docstring's first line, ``documentation`` all of it under headings, with the first example and
    its corrected twin put in (Markdown), ``help`` the first paragraph of "Use instead".
    """

    code: str
    name: str
    summary: str
    documentation: str
    help: str


class Rule(ABC):
    """One pattern: documentation, examples and check. Stateless.

    A rule looks at captured models (``check``), at source files (``read``), or at both; what it does not override
    finds nothing.

    The class docstring is the rule's documentation: the first line says what it finds, then come the headings
    ``## Why is this bad``, ``## Use instead`` (its first paragraph is the findings' help), ``## Near misses``,
    ``## Options`` where the configuration has any for it, and ``## Source``. ``examples`` start with one that triggers
    and its corrected twin, which documentation shows.
    ``on_by_default``: False for advice that only those want who ask for it, by naming its code in ``select``.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    examples: ClassVar[tuple[Example, ...]]
    on_by_default: ClassVar[bool] = True

    def check(self, subject: Subject) -> Iterator[Finding]:
        """Every finding of this rule in one model."""
        yield from ()

    def read(self, file: SourceFile) -> Iterator[Finding]:
        """Every finding of this rule in the text of one file, none of which has been run."""
        yield from ()

    @property
    def checks(self) -> bool:
        """Whether it looks at captured models."""
        return type(self).check is not Rule.check

    @property
    def reads(self) -> bool:
        """Whether it looks at source files."""
        return type(self).read is not Rule.read

    def remark(
        self, file: SourceFile, inside: str, called: str, site: Site, severity: Severity, message: str
    ) -> Finding:
        """A finding in the text of ``file``: ``inside`` the function or class so called, at what it calls."""
        op = f"{inside}/{called}" if inside else called
        return Finding(self.code, self.name, severity, message, self.info().help, site, file.path, op)

    def info(self) -> RuleInfo:
        """The rule's documentation, taken apart.

        Raises:
            ValueError: the docstring has no ``## Use instead``, or there are fewer than two examples.
        """
        return _info(type(self))

    def finding(
        self,
        subject: Subject,
        node: Node,
        severity: Severity,
        message: str,
        *,
        norm: Node | None = None,
        delta: float | None = None,
    ) -> Finding:
        """A finding at ``node``, with this rule's help; evidence is named where there is a Δ to rest on it."""
        target = None if norm is None else norm.path
        evidence = None if delta is None else subject.shifts.evidence
        # Some models have hundreds, and fields given by name take twice as long: code to model, op to fingerprint.
        return Finding(
            *(self.code, self.name, severity, message, self.info().help, node.site, subject.target),
            *(node.path, target, delta, evidence, 1, "", node.built),
        )


@cache
def _info(rule: type[Rule]) -> RuleInfo:
    sections = [section.strip() for section in re.split(r"^(?=## )", cleandoc(rule.__doc__ or ""), flags=re.MULTILINE)]
    remedy = next((section for section in sections if section.startswith("## Use instead\n")), None)
    if remedy is None or len(rule.examples) < 2:
        raise ValueError(f"{rule.__name__} needs a section '## Use instead' and two examples, the second corrected")
    triggering, corrected = (f"```python\n{example.source.strip()}\n```" for example in rule.examples[:2])
    position = sections.index(remedy)
    sections[position : position + 1] = [f"## Example\n{triggering}", f"{remedy}\n\n{corrected}"]
    paragraph = remedy.partition("\n")[2].strip().split("\n\n")[0]
    summary = sections[0].partition("\n")[0]
    sections[0] = f"## What it does\n{sections[0]}"
    return RuleInfo(rule.code, rule.name, summary, "\n\n".join(sections), " ".join(paragraph.split()))
