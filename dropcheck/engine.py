"""Runs the rules over captured models and turns what they find into a Report."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dropcheck.graph import Graph, Node
from dropcheck.job import CapturedModel
from dropcheck.merge import fingerprinted, merged
from dropcheck.nearest import suggest
from dropcheck.ops import Attention, BatchNorm, Constant, Dropout, Input, Opaque, Output, Recurrent
from dropcheck.result import AnalysisError, Blame, DropoutReport, ErrorKind, ModelReport, NormReport, Report, Status
from dropcheck.rule import Finding, Rule, Severity, Subject, Thresholds
from dropcheck.shift import NormShift, Shifts, predict
from dropcheck.suppress import Silence, apply
from dropcheck.unused import Run, sites_of, unused


class UnknownCode(ValueError):
    """A code, or a prefix of one, that names no rule."""

    def __init__(self, prefix: str, rules: Iterable[Rule]) -> None:
        super().__init__(f"no rule's code starts with {prefix!r}; {suggest(prefix, [rule.code for rule in rules])}")


@dataclass(frozen=True, slots=True)
class Examined:
    """One model after the rules: its report, and what they found in it, one finding per instance.

    ``seen``: the lines (path, line) of its operations and of the construction of their layers.
    """

    model: ModelReport
    findings: tuple[Finding, ...] = ()
    errors: tuple[AnalysisError, ...] = ()
    seen: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class Orders:
    """What becomes of findings: who is silent about what, severities that are set (by prefix of the code), the
    directory that paths in fingerprints are relative to (default: the working directory).

    ``known``: the codes of all rules there are. ``static``: nothing was run. ``narrowed``: rules were chosen for this
    run alone, which says nothing about comments that are there for others.
    """

    silence: Silence = field(default_factory=Silence)
    severity: Mapping[str, Severity] = field(default_factory=dict)
    root: str = ""
    known: frozenset[str] = frozenset()
    static: bool = False
    narrowed: bool = False


def enabled(rules: Iterable[Rule], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules whose code the longest matching prefix selects; ``ignore`` wins a tie, an empty ``select`` takes all.

    A rule that is not on by default runs only where ``select`` has its whole code. Raises UnknownCode for a prefix that
    matches no rule.
    """
    known = tuple(rules)
    check_prefixes(known, (*select, *ignore))
    wanted = (rule for rule in known if rule.on_by_default or rule.code in select)
    return tuple(rule for rule in wanted if _longest(rule.code, select or ("",)) > _longest(rule.code, ignore))


def check_prefixes(rules: Iterable[Rule], prefixes: Iterable[str]) -> None:
    """Raises UnknownCode for a prefix that matches no rule."""
    known = tuple(rules)
    for prefix in prefixes:
        if not any(prefix and rule.code.startswith(prefix) for rule in known):
            raise UnknownCode(prefix, known)


def _longest(code: str, prefixes: Sequence[str]) -> int:
    return max((len(prefix) for prefix in prefixes if code.startswith(prefix)), default=-1)


def subject_of(captured: CapturedModel, thresholds: Thresholds) -> Subject:
    """A captured model as rules see it: with the shifts its trained weights tell, else those its code lets expect."""
    assert captured.graph is not None
    layers = {layer.name: layer for layer in captured.layers}
    shifts = captured.shifts or predict(captured.graph)
    return Subject(captured.target, captured.graph, shifts, thresholds, layers, captured.guessed)


def examine(captured: CapturedModel, rules: Iterable[Rule], thresholds: Thresholds) -> Examined:
    """What ``rules`` find in one captured model. A rule that raises becomes an error and the others still run."""
    if captured.graph is None:
        return Examined(_header(captured))
    try:
        subject = subject_of(captured, thresholds)
    except Exception as error:  # noqa: BLE001 - reported, with its traceback, as an error of ours
        broken = _internal(captured.target, "the prediction of its shifts", error, "leave this model out until then")
        return Examined(replace(_header(captured), status=Status.FAILED, reason=broken.message), errors=(broken,))
    findings: list[Finding] = []
    errors: list[AnalysisError] = []
    for rule in rules:
        try:
            findings += list(rule.check(subject))
        except Exception as error:  # noqa: BLE001 - reported, with its traceback, as an error of ours
            errors.append(_internal(captured.target, f"rule {rule.code}", error, f"--ignore {rule.code} leaves it out"))
    seen = sites_of(site for node in captured.graph for site in (node.site, node.built))
    return Examined(_described(captured, captured.graph, subject.shifts), tuple(findings), tuple(errors), seen)


def conclude(
    examined: Iterable[Examined],
    errors: Iterable[AnalysisError],
    rules: Iterable[Rule],
    *,
    files: int,
    seconds: float = 0.0,
    read: Iterable[Finding] = (),
    orders: Orders | None = None,
) -> Report:
    """The report of a run: findings grouped by source line, each error once, in an order that is always the same.

    ``read`` are the findings in the sources, ``orders`` says what becomes of all of them.
    """
    orders = orders or Orders()
    ordered = sorted(examined, key=lambda one: (one.model.target, one.model.arguments or ""))
    known_errors = dict.fromkeys((*errors, *(error for one in ordered for error in one.errors)))
    run = Run(
        rules=tuple(rules),
        known=orders.known,
        models=tuple(one.model for one in ordered),
        errors=tuple(sorted(known_errors, key=lambda error: (error.path, error.kind, error.message))),
        seen=frozenset().union(*(one.seen for one in ordered)),
        static=orders.static,
        narrowed=orders.narrowed,
    )
    findings, suppressed = _reported((*(found for one in ordered for found in one.findings), *read), run, orders)
    return Report(
        findings=findings,
        models=run.models,
        errors=run.errors,
        rules=tuple(rule.info() for rule in run.rules),
        files=files,
        suppressed=suppressed,
        seconds=seconds,
        static=run.static,
        whole=frozenset(path for path in orders.silence.linted if run.judged(path)),
    )


def _reported(findings: Iterable[Finding], run: Run, orders: Orders) -> tuple[tuple[Finding, ...], int]:
    """The findings to report, merged, those about suppressions among them; and how many are suppressed."""

    def judged(found: Iterable[Finding]) -> Iterable[Finding]:
        return fingerprinted((_with_severity(one, orders.severity) for one in found), orders.root)

    applied = apply(judged(findings), orders.silence)
    about = apply(judged(unused(orders.silence, applied.used, run)), orders.silence)
    return merged((*applied.kept, *about.kept)), applied.suppressed + about.suppressed


def _with_severity(finding: Finding, severities: Mapping[str, Severity]) -> Finding:
    longest = max((prefix for prefix in severities if finding.code.startswith(prefix)), key=len, default=None)
    return finding if longest is None else replace(finding, severity=severities[longest])


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
        without=captured.without,
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
