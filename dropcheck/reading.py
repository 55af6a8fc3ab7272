"""Runs the rules over the text of files, and holds what they find against what captured models really do."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from dropcheck.engine import Examined
from dropcheck.graph import Graph, Node, Site
from dropcheck.ops import Attention, Constant, Dropout, Recurrent
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.rule import Finding, Rule
from dropcheck.source import Unreadable, text_of
from dropcheck.syntax import SourceFile, Unparsable

ALWAYS_ON, UNUSED_LAYER, MADE_ANEW, UNREACHED = "DC501", "DC505", "DC502", "DC506"
_DRAWS = (Dropout, Attention, Recurrent, Constant)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the rules found in sources, and what could not be read.

    ``classes``: by path, the classes of the files in which something was found, with the line where each begins.
    """

    findings: tuple[Finding, ...] = ()
    errors: tuple[AnalysisError, ...] = ()
    classes: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)

    def class_at(self, site: Site | None) -> str | None:
        """The last class that begins above a line."""
        known = () if site is None else self.classes.get(site.path, ())
        above = [one for one in known if site is not None and one[0] <= site.line]
        return max(above)[1] if above else None


@contextmanager
def reading(
    paths: Iterable[str],
    rules: Iterable[Rule],
    watch: Callable[[int, int, str], object] = lambda done, total, at: None,
) -> Iterator[Callable[[], Reading]]:
    """Has ``rules`` read files, each once, while other work goes on; the call of what it gives waits for the result.

    While it waits, ``watch`` is told how many of how many files are read, and which is next. Files that cannot be read
    are left out: the scan has said so.
    """
    wanted = [rule for rule in rules if rule.reads]
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        started = {path: pool.submit(_read_file, path, wanted) for path in dict.fromkeys(paths)} if wanted else {}
        yield lambda: _joined(_results(started, watch))
    finally:
        pool.shutdown(cancel_futures=True)


def _results(started: Mapping[str, Future[Reading]], watch: Callable[[int, int, str], object]) -> Iterator[Reading]:
    for done, (path, one) in enumerate(started.items()):
        watch(done, len(started), path)
        yield one.result()


def _read_file(path: str, rules: Iterable[Rule]) -> Reading:
    try:
        text = text_of(path)
    except (OSError, Unreadable):
        return Reading()
    return read(SourceFile(path, text), rules)


def _joined(readings: Iterable[Reading]) -> Reading:
    known = list(readings)
    return Reading(
        tuple(finding for one in known for finding in one.findings),
        tuple(error for one in known for error in one.errors),
        {path: classes for one in known for path, classes in one.classes.items()},
    )


def read(file: SourceFile, rules: Iterable[Rule]) -> Reading:
    """What ``rules`` find in one file. A rule that raises becomes an error and the others still run."""
    findings: list[Finding] = []
    errors: list[AnalysisError] = []
    for rule in rules:
        try:
            findings += list(rule.read(file))
        except Unparsable as error:
            return Reading(errors=(AnalysisError(file.path, ErrorKind.SYNTAX, str(error), error.hint),))
        except Exception as error:  # noqa: BLE001 - reported, with its traceback, as an error of ours
            errors.append(_crash(file.path, rule, error))
    classes = {file.path: tuple((one.site.line, one.qualname) for one in file.classes)} if findings else {}
    return Reading(tuple(findings), tuple(errors), classes)


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


def crosschecked(
    reading: Reading, examined: Iterable[Examined], graphs: Iterable[Graph], symbols: Mapping[str, frozenset[str]]
) -> tuple[tuple[Examined, ...], tuple[Finding, ...]]:
    """The examined models and the findings of the text, each fault once, with what the models deny left out.

    ``symbols``: of files of which only some definitions were asked for, these. Other findings in such a file count if
    a captured model has to do with their lines.
    """
    known, witness = tuple(examined), Witness(graphs)
    asked = [
        one
        for one in reading.findings
        if one.model not in symbols
        or one.op.partition("/")[0].partition(".")[0] in symbols[one.model]
        or witness.touches(one)
    ]
    checked = (finding for one in known for finding in one.findings)
    told, confirmed = reconciled(replace(reading, findings=tuple(asked)), checked, witness)
    rest = iter(confirmed)
    return tuple(replace(one, findings=tuple(islice(rest, len(one.findings)))) for one in known), told


def reconciled(
    reading: Reading, checked: Iterable[Finding], witness: Witness
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The findings of the text that remain, and those of captured models, each fault once.

    What the text alone suspects and no run confirms is left to ``witness``. Where both see a fault, the finding of the
    model remains, with the place and the sentence that the text has for it.
    """
    confirmed: list[Finding] = []
    told: set[int] = set()
    suspected = _Suspected(reading)
    for seen in checked:
        same = suspected.same_fault(seen)
        if same is not None:
            told.add(id(same))
        confirmed.append(seen if same is None else replace(same, model=seen.model, op=seen.op, said=same.op))
    rest = (one for one in reading.findings if id(one) not in told and not witness.denies(one))
    return tuple(rest), tuple(confirmed)


class _Suspected:
    """The findings of the text by line and by class."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.at: dict[tuple[str, int], list[Finding]] = {}
        self.unreached: dict[tuple[str, str], Finding] = {}
        self.cut_off: dict[tuple[str, str], Finding] = {}  # by a train() of the class's own
        for finding in reading.findings:
            for line in (*_lines(finding.site), *_lines(finding.built)):
                self.at.setdefault(line, []).append(finding)
            owner = reading.class_at(finding.site)
            if finding.code == UNREACHED and owner is not None:
                cuts_off = finding.op.rpartition("/")[2] in ("train", "eval")
                (self.cut_off if cuts_off else self.unreached).setdefault((finding.model, owner), finding)

    def same_fault(self, seen: Finding) -> Finding | None:
        """What the text has of a fault seen in a model.

        A layer that evaluation does not reach may be one that forward makes anew, or one of many that a train() cuts
        off; where it was built nobody knows if the model does not have it registered, so that a suspicion about its
        class stands for it. A mask in a class that a class with layers out of reach uses, and that the text finds
        nothing wrong with, is in such a layer.
        """
        codes = (seen.code, MADE_ANEW) if seen.code == UNREACHED else (seen.code,)
        for line in (*_lines(seen.site), *_lines(seen.built)):
            for one in self.at.get(line, []):
                if one.code in codes:
                    return one
        if seen.site is None or seen.code not in (ALWAYS_ON, UNREACHED):
            return None
        inside = self.reading.class_at(seen.site)
        if seen.code == ALWAYS_ON:
            known = {**self.cut_off, **self.unreached}
            users = (one for (path, owner), one in known.items() if path == seen.site.path and owner != inside)
            return next(users, None) if inside else None
        path, symbol = seen.site.path, seen.model.rpartition(":")[2]
        around = (path, inside or "")
        if seen.built is None and around in self.unreached:
            return self.unreached[around]
        holders = (inside, self.reading.class_at(seen.built), symbol)
        return next(
            (self.cut_off[path, one] for one in holders if one is not None and (path, one) in self.cut_off), None
        )


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
