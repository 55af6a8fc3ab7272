"""Runs the rules over the text of files, and holds what they find against what captured models really do."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dropcheck.graph import Graph, Node, Site
from dropcheck.ops import Attention, Constant, Dropout, Recurrent
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.rule import Finding, Rule
from dropcheck.syntax import SourceFile, Unparsable

UNUSED_LAYER, MADE_ANEW, UNREACHED = "DC505", "DC502", "DC506"
_DRAWS = (Dropout, Attention, Recurrent, Constant)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the rules found in sources, and what could not be read."""

    findings: tuple[Finding, ...] = ()
    errors: tuple[AnalysisError, ...] = ()


def read(texts: Mapping[str, str], rules: Iterable[Rule]) -> Reading:
    """What ``rules`` find in files, given by path. A rule that raises becomes an error and the others still run."""
    reading = [rule for rule in rules if rule.reads]
    findings: list[Finding] = []
    errors: list[AnalysisError] = []
    for path, text in texts.items():
        file = SourceFile(path, text)
        for rule in reading:
            try:
                findings += list(rule.read(file))
            except Unparsable as error:
                errors.append(AnalysisError(path, ErrorKind.SYNTAX, str(error), error.hint))
                break
            except Exception as error:  # noqa: BLE001 - reported, with its traceback, as an error of ours
                errors.append(_crash(path, rule, error))
    return Reading(tuple(findings), tuple(errors))


def _crash(path: str, rule: Rule, error: Exception) -> AnalysisError:
    return AnalysisError(
        path=path,
        kind=ErrorKind.INTERNAL,
        message=f"rule {rule.code} failed with {type(error).__name__}: {error}",
        hint=f"this is a fault of dropcheck or of a rule, please report it; --ignore {rule.code} leaves it out",
        details="".join(traceback.format_exception(error)),
    )


class Witness:
    """What captured models do at each line: the evidence for and against what was found in the text."""

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self._draws: dict[tuple[str, int], list[Node]] = {}
        self._built: dict[tuple[str, int], list[Node]] = {}
        for node in (node for graph in graphs for node in graph if isinstance(node.op, _DRAWS)):
            for line in _lines(node.site):
                self._draws.setdefault(line, []).append(node)
            for line in _lines(node.built):
                self._built.setdefault(line, []).append(node)

    def denies(self, finding: Finding) -> bool:
        """Whether every run shows that something suspected in the text is not so.

        A dropout is off in evaluation at all that stands on these lines, or a layer said to be unused is called.
        """
        if finding.code == UNUSED_LAYER:
            return any(_overlap(node.built, finding.site) for node in self._at(self._built, finding.site))
        met = [*self._at(self._draws, finding.site), *self._at(self._draws, finding.built)]
        if finding.code == UNREACHED:
            met = self._at(self._built, finding.site)
        return bool(met) and all(node.random_in_eval is False for node in met)

    def touches(self, finding: Finding) -> bool:
        """Whether a captured model has anything to do with these lines."""
        return bool(self._at(self._draws, finding.site) or self._at(self._built, finding.site))

    def _at(self, index: Mapping[tuple[str, int], list[Node]], site: Site | None) -> list[Node]:
        return [node for line in _lines(site) for node in index.get(line, [])]


def reconciled(
    read: Iterable[Finding], checked: Iterable[Finding], witness: Witness
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The findings of the text that remain, and those of captured models, each fault once.

    What the text alone suspects and no run confirms is left to ``witness``. Where both see a fault, the finding of the
    model remains, with the place and the sentence that the text has for it.
    """
    suspected: dict[tuple[str, int], list[Finding]] = {}
    alone = {id(finding): finding for finding in read}
    for finding in alone.values():
        for line in (*_lines(finding.site), *_lines(finding.built)):
            suspected.setdefault(line, []).append(finding)
    confirmed: list[Finding] = []
    told: set[int] = set()
    for seen in checked:
        same = next((one for one in _near(suspected, seen) if _is_same_fault(one, seen)), None)
        if same is not None:
            told.add(id(same))
        confirmed.append(seen if same is None else replace(same, model=seen.model, op=seen.op))
    rest = (one for key, one in alone.items() if key not in told and not witness.denies(one))
    return tuple(rest), tuple(confirmed)


def _near(suspected: Mapping[tuple[str, int], list[Finding]], seen: Finding) -> Iterator[Finding]:
    for line in (*_lines(seen.site), *_lines(seen.built)):
        yield from suspected.get(line, [])


def _is_same_fault(suspected: Finding, seen: Finding) -> bool:
    """A layer that evaluation does not reach may be one that forward makes anew."""
    return suspected.code == seen.code or (suspected.code == MADE_ANEW and seen.code == UNREACHED)


def _lines(site: Site | None) -> Iterator[tuple[str, int]]:
    if site is not None:
        yield from ((site.path, line) for line in range(site.line, site.end_line + 1))


def _overlap(one: Site | None, other: Site | None) -> bool:
    """Whether two regions have a character in common."""
    if one is None or other is None or one.path != other.path:
        return False
    return (one.line, one.column) < (other.end_line, other.end_column) and (other.line, other.column) < (
        one.end_line,
        one.end_column,
    )
