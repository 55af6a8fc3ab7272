"""Runs the rules over captured models and turns what they find into a Report."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import inf

from dropcheck.graph import Graph, Node
from dropcheck.job import CapturedModel
from dropcheck.nearest import suggest
from dropcheck.ops import Attention, BatchNorm, Constant, Dropout, Input, Opaque, Output, Recurrent
from dropcheck.result import AnalysisError, Blame, DropoutReport, ErrorKind, ModelReport, NormReport, Report, Status
from dropcheck.rule import Finding, Rule, Subject, Thresholds
from dropcheck.shift import NormShift, Shifts, predict, shift_ratio


class UnknownCode(ValueError):
    """A code, or a prefix of one, that names no rule."""

    def __init__(self, prefix: str, rules: Iterable[Rule]) -> None:
        super().__init__(f"no rule's code starts with {prefix!r}; {suggest(prefix, [rule.code for rule in rules])}")


@dataclass(frozen=True, slots=True)
class Examined:
    """One model after the rules: its report, and what they found in it, one finding per instance."""

    model: ModelReport
    findings: tuple[Finding, ...] = ()
    errors: tuple[AnalysisError, ...] = ()


def enabled(rules: Iterable[Rule], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules whose code the longest matching prefix selects; ``ignore`` wins a tie, an empty ``select`` takes all.

    Raises UnknownCode for a prefix that matches no rule.
    """
    known = tuple(rules)
    for prefix in (*select, *ignore):
        if not any(prefix and rule.code.startswith(prefix) for rule in known):
            raise UnknownCode(prefix, known)
    return tuple(rule for rule in known if _longest(rule.code, select or ("",)) > _longest(rule.code, ignore))


def _longest(code: str, prefixes: Sequence[str]) -> int:
    return max((len(prefix) for prefix in prefixes if code.startswith(prefix)), default=-1)


def examine(captured: CapturedModel, rules: Iterable[Rule], thresholds: Thresholds) -> Examined:
    """What ``rules`` find in one captured model. A rule that raises becomes an error and the others still run."""
    if captured.graph is None:
        return Examined(_header(captured))
    try:
        shifts = captured.shifts or predict(captured.graph)
    except Exception as error:  # noqa: BLE001 - reported, with its traceback, as an error of ours
        broken = _internal(captured.target, "the prediction of its shifts", error, "leave this model out until then")
        return Examined(replace(_header(captured), status=Status.FAILED, reason=broken.message), errors=(broken,))
    layers = {layer.name: layer for layer in captured.layers}
    subject = Subject(captured.target, captured.graph, shifts, thresholds, layers)
    findings: list[Finding] = []
    errors: list[AnalysisError] = []
    for rule in rules:
        try:
            findings += list(rule.check(subject))
        except Exception as error:  # noqa: BLE001 - reported, with its traceback, as an error of ours
            errors.append(_internal(captured.target, f"rule {rule.code}", error, f"--ignore {rule.code} leaves it out"))
    return Examined(_described(captured, captured.graph, shifts), tuple(findings), tuple(errors))


def conclude(
    examined: Iterable[Examined],
    errors: Iterable[AnalysisError],
    rules: Iterable[Rule],
    *,
    files: int,
    seconds: float = 0.0,
) -> Report:
    """The report of a run: findings grouped by source line, each error once, in an order that is always the same."""
    ordered = sorted(examined, key=lambda one: (one.model.target, one.model.arguments or ""))
    all_errors = dict.fromkeys((*errors, *(error for one in ordered for error in one.errors)))
    return Report(
        findings=grouped(finding for one in ordered for finding in one.findings),
        models=tuple(one.model for one in ordered),
        errors=tuple(sorted(all_errors, key=lambda error: (error.path, error.kind, error.message))),
        rules=tuple(rule.info() for rule in rules),
        files=files,
        seconds=seconds,
    )


def grouped(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding per rule and source region, the worst of its instances, with their number as ``occurrences``.

    Findings without a site stay apart. Sorted by path, line, column, code and op. The fingerprint is that of the first
    instance, so it outlives a change of which one is worst.
    """
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        key = finding.site or (finding.model, finding.op, finding.norm)
        groups.setdefault((finding.code, key), []).append(finding)
    seen: Counter[tuple[str, ...]] = Counter()
    merged = []
    for group in sorted(groups.values(), key=lambda group: _order(group[0])):
        identity = _identity(group[0])
        fingerprint = sha256("\0".join((*identity, str(seen[identity]))).encode()).hexdigest()[:16]
        seen[identity] += 1
        occurrences = sum(finding.occurrences for finding in group)
        merged.append(replace(max(group, key=_badness), occurrences=occurrences, fingerprint=fingerprint))
    return tuple(merged)


def _badness(finding: Finding) -> tuple[int, float]:
    if finding.delta is None:
        return finding.severity.rank, 1.0
    return finding.severity.rank, shift_ratio(finding.delta) if finding.delta > 0.0 else inf


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    site = finding.site
    where = (site.path, site.line, site.column) if site else (_file(finding.model), 0, 0)
    return (*where, finding.code, finding.op)


def _identity(finding: Finding) -> tuple[str, ...]:
    """What stays the same when lines move: the first instance's place in the model, not in the file."""
    path = finding.site.path if finding.site else _file(finding.model)
    return (finding.code, path, finding.model.rpartition(":")[2], finding.op, finding.norm or "")


def _file(target: str) -> str:
    return target.rpartition(":")[0]


def _internal(target: str, what: str, error: Exception, hint: str) -> AnalysisError:
    return AnalysisError(
        path=target,
        kind=ErrorKind.INTERNAL,
        message=f"{what} failed with {type(error).__name__}: {error}",
        hint=f"this is a fault of dropcheck or of a rule, please report it; {hint}",
        details="".join(traceback.format_exception(error)),
    )


def _header(captured: CapturedModel) -> ModelReport:
    return ModelReport(
        target=captured.target,
        status=captured.status,
        reason=captured.reason or captured.remark,
        capture=captured.capture,
        arguments=captured.arguments,
        input=captured.input,
        weights=captured.weights,
        layers=captured.layers,
        by_design=captured.by_design,
    )


def _described(captured: CapturedModel, graph: Graph, shifts: Shifts) -> ModelReport:
    return replace(
        _header(captured),
        evidence=shifts.evidence,
        ops=sum(not isinstance(node.op, Input | Output | Constant) for node in graph),
        opaque=tuple(dict.fromkeys(node.op.target for node in graph if isinstance(node.op, Opaque))),
        norms=tuple(_norm(graph, shift) for shift in shifts.norms.values()),
        dropouts=tuple(report for node in graph if (report := _dropout(node)) is not None),
    )


def _norm(graph: Graph, shift: NormShift) -> NormReport:
    node = graph[shift.norm]
    return NormReport(
        name=node.path,
        kind=node.op.kind if isinstance(node.op, BatchNorm) else type(node.op).__name__,
        delta=shift.delta,
        delta_measured=None,
        delta_per_channel=shift.per_channel,
        sources=tuple(Blame(graph[source.dropout].path, source.share) for source in shift.sources),
        site=node.site,
    )


def _dropout(node: Node) -> DropoutReport | None:
    """A dropout layer or call, or the dropout inside a recurrent or attention layer if there is any."""
    match node.op:
        case Dropout(kind=kind, drop_rate=rate):
            return DropoutReport(node.path, kind, rate, node.site)
        case Recurrent(kind=kind, drop_rate=rate) | Attention(kind=kind, drop_rate=rate) if rate > 0.0:
            return DropoutReport(node.path, kind, rate, node.site)
    return None
