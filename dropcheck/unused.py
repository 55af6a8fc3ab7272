"""DC001: comments that suppress nothing, name no rule, or are not understood.

That something suppresses nothing is only said where it is known: its rules ran, and all that could show their findings
was analysed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dropcheck.graph import Site
from dropcheck.merge import file_of
from dropcheck.nearest import suggest
from dropcheck.result import AnalysisError, ModelReport, Status
from dropcheck.rule import Finding, Rule, Severity
from dropcheck.source import Ignore, Malformed, Unreadable, text_of
from dropcheck.suppress import UNUSED, Silence

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Run:
    """What a run looked at.

    ``known`` are the codes of all rules there are, ``rules`` those that ran, ``seen`` the lines (path, line) of every
    operation of the captured models and of the construction of its layer. ``static``: nothing was run, so nothing
    captured. ``narrowed``: rules were chosen for this run alone.
    """

    rules: tuple[Rule, ...]
    known: frozenset[str]
    models: tuple[ModelReport, ...] = ()
    errors: tuple[AnalysisError, ...] = ()
    seen: frozenset[tuple[str, int]] = frozenset()
    static: bool = False
    narrowed: bool = False

    @cached_property
    def gaps(self) -> frozenset[str]:
        """The files of which something was not analysed, or judged by more than their text."""
        lacking = (model for model in self.models if not _is_whole(model))
        return frozenset(file_of(one) for one in (*(e.path for e in self.errors), *(m.target for m in lacking)))

    def judged(self, path: str) -> bool:
        """Whether all models that may need a file were analysed: its own, and those of files that name it."""
        if self.static or path in self.gaps or self._mentioned is None:
            return False
        return not _words(_module(path)) <= self._mentioned

    @cached_property
    def _mentioned(self) -> frozenset[str] | None:
        """Every word in the files with gaps, None if one of them cannot be read."""
        try:
            return frozenset().union(*(_words(text_of(gap)) for gap in self.gaps))
        except (OSError, Unreadable):
            return None


def _is_whole(model: ModelReport) -> bool:
    if model.status is not Status.ANALYSED:
        return model.by_design
    unjudged = any(norm.delta is None and norm.delta_measured is None for norm in model.norms)
    return not (model.opaque or unjudged or model.weights)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text))


def _module(path: str) -> str:
    """The name by which other files import a file."""
    *packages, name = path.removesuffix(".py").split("/")
    return packages[-1] if name == "__init__" and packages else name


def unused(silence: Silence, used: Mapping[Ignore, frozenset[str]], run: Run) -> Iterator[Finding]:
    """The findings of DC001 in the files that were linted; none unless that rule ran."""
    rule = next((one for one in run.rules if one.code == UNUSED), None)
    if rule is None:
        return
    for path, comments in silence.linted.items():
        if not comments.ignores and not comments.malformed:
            continue
        layout = _Layout(path)
        for wrong in comments.malformed:
            if not wrong.builds:
                yield _finding(rule, wrong, layout.place(wrong.site.line, "comment"), wrong.message, wrong.help)
        for ignore in comments.ignores:
            problem = _problem(ignore, used.get(ignore, frozenset()), run, layout)
            if problem is not None:
                yield _finding(rule, ignore, layout.place(ignore.site.line, ignore.text), *problem)


def _finding(rule: Rule, at: Ignore | Malformed, op: str, message: str, help: str) -> Finding:
    return Finding(rule.code, rule.name, Severity.WARNING, message, help, at.site, at.site.path, op)


def _problem(ignore: Ignore, used: frozenset[str], run: Run, layout: _Layout) -> tuple[str, str] | None:
    """What is wrong with an order, and what to do about it."""
    if not ignore.codes:
        idle = not used and not run.narrowed and _met(ignore, run, layout)
        return (f"`{ignore.text}` suppresses nothing", "Remove the comment.") if idle else None
    unknown = [code for code in ignore.codes if code not in run.known]
    idle_codes = [code for code in ignore.codes if code not in used and _ran(code, ignore, run, layout)]
    if unknown:
        named = " and ".join(map(repr, unknown))
        also = f"; {_names(idle_codes)} {_suppress(idle_codes)} nothing" if idle_codes else ""
        return f"`{ignore.text}` names {named}, and no rule has that code{also}", _nearest(unknown, run.known)
    if not idle_codes:
        return None
    if len(idle_codes) == len(ignore.codes):
        return f"`{ignore.text}` suppresses nothing", "Remove the comment."
    problem = f"{_names(idle_codes)} in `{ignore.text}` {_suppress(idle_codes)} nothing"
    return problem, f"Remove {_names(idle_codes)} from it."


def _names(codes: list[str]) -> str:
    return " and ".join(codes)


def _suppress(codes: list[str]) -> str:
    return "suppresses" if len(codes) == 1 else "suppress"


def _nearest(unknown: list[str], known: Iterable[str]) -> str:
    """What may have been meant; a comment names whole codes."""
    answers = []
    for code in unknown:
        family = sorted(one for one in known if code and one.startswith(code.upper()))
        if family:
            answers.append(f"{code}: write {family[0] if len(family) == 1 else f'whole codes, {_few(family)}'}")
        else:
            answers.append(f"{code}: {suggest(code, sorted(known))}")
    return "; ".join(answers)


def _few(codes: list[str]) -> str:
    return ", ".join(codes[:6]) + (" …" if len(codes) > 6 else "")


def _ran(code: str, ignore: Ignore, run: Run, layout: _Layout) -> bool:
    """Whether the rule of a code looked at all that it could have found something in."""
    rule = next((one for one in run.rules if one.code == code), None)
    if rule is None or code == UNUSED:
        return False
    if rule.checks:
        return _met(ignore, run, layout)
    return rule.reads and all(error.path != layout.path for error in run.errors)


def _met(ignore: Ignore, run: Run, layout: _Layout) -> bool:
    """Whether captured models show what stands around a comment: nothing can be found in what is never called."""
    if not run.judged(layout.path):
        return False
    first, last = (1, layout.lines) if ignore.whole_file else layout.definition(ignore.site.line)
    return first == 0 or any(path == layout.path and first <= line <= last for path, line in run.seen)


class _Layout:
    """How the definitions of a file lie in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        text = text_of(path)
        self.lines = text.count("\n") + 1
        self._tree = ast.parse(text)

    def definition(self, line: int) -> tuple[int, int]:
        """First and last line of the top-level statement around a line if it defines something, else zeros."""
        for statement in self._tree.body:
            first, last = _extent(statement)
            if first <= line <= last:
                defines = any(isinstance(part, _DEFINITIONS) for part in ast.walk(statement))
                return (first, last) if defines else (0, 0)
        return 0, 0

    def place(self, line: int, what: str) -> str:
        """``Net.forward/what`` for a line in that method; ``what`` alone at the top level."""
        names: list[str] = []
        body: list[ast.AST] = list(self._tree.body)
        while around := [one for one in body if isinstance(one, ast.stmt) and _holds(one, line)]:
            if isinstance(around[0], _DEFINITIONS):
                names.append(around[0].name)
            body = list(ast.iter_child_nodes(around[0]))
        return f"{'.'.join(names)}/{what}" if names else what


def _holds(statement: ast.stmt, line: int) -> bool:
    first, last = _extent(statement)
    return first <= line <= last


def _extent(statement: ast.stmt) -> tuple[int, int]:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)]), statement.end_lineno or statement.lineno


def sites_of(sites: Iterable[Site | None]) -> frozenset[tuple[str, int]]:
    """Every line that the sites touch."""
    return frozenset(
        (site.path, line) for site in set(sites) if site is not None for line in range(site.line, site.end_line + 1)
    )
