"""The report for people at a terminal.

User text only ever enters as rich ``Text``, never as markup, and with its control characters made visible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from io import StringIO

from rich.console import Console
from rich.text import Text

from dropcheck.report.alike import alike, cause, named, remedy, target_of
from dropcheck.report.details import call_of, details
from dropcheck.report.frame import frame
from dropcheck.report.layout import Block, field, hanging, headed
from dropcheck.report.marks import marks, norm_of
from dropcheck.report.verdict import all_clear, unjudged, verdict
from dropcheck.report.view import ReadSource, View
from dropcheck.report.wording import (
    delta_text,
    left_out,
    occurrences_text,
    op_text,
    opaque_text,
    place,
    remarked,
    share_text,
    symbol_of,
    visible,
)
from dropcheck.result import AnalysisError, ModelReport, Report, Status
from dropcheck.rule import Finding, Severity

_TONE = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold blue"}
_NARROWEST = 40
_MOST_SOURCES = 3
_MOST_OPAQUE = 6


def render(report: Report, view: View) -> str:
    console = Console(
        file=StringIO(),
        width=max(view.width, _NARROWEST),
        color_system="standard" if view.color else None,
        force_terminal=view.color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    with console.capture() as capture:
        for number, block in enumerate(_blocks(console, report, view)):
            if number:
                console.print()
            for line in block:
                console.print(line, soft_wrap=isinstance(line, Text))
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _blocks(console: Console, report: Report, view: View) -> Iterator[Block]:
    read_source = cache(view.read_source)
    helped: set[str] = set()
    for finding in report.findings:
        yield list(_finding(console, report, finding, read_source, finding.help in helped))
        helped.add(finding.help)
    for error in report.errors if view.errors else ():
        yield list(_error(console, error, view.verbose))
    out = [model for model in left_out(report) if model.status is Status.FAILED or not view.quiet]
    for models in alike(out, lambda model: (model.status, cause(model.reason or ""))):
        yield list(_left_out(console, models, view.verbose))
    if view.quiet:
        return
    for models in alike(remarked(report), lambda model: model.reason):
        yield list(_remark(console, models, view.verbose))
    for models in alike((model for model in report.models if model.opaque), lambda model: model.opaque):
        yield list(_opaque(console, models, view.verbose))
    if view.verbose:
        yield from (details(console, model) for model in report.models if model not in report.unanalysed)
    yield list(_verdict(console, report))


def _finding(
    console: Console, report: Report, finding: Finding, read_source: ReadSource, helped: bool
) -> Iterator[Text]:
    """One finding; ``helped``: its help was given with an earlier one."""
    tone = _TONE[finding.severity]
    yield from headed(console, place(finding.site), f"{finding.code} {finding.severity}", tone, finding.message)
    source = None if finding.site is None else read_source(finding.site.path)
    if source is not None:
        yield from frame(source, marks(report, finding), console.width, tone)
    yield from field(console, "layer" if finding.norm is None else "noise", _facts(report, finding))
    yield from field(console, "help", "as above" if helped and finding.help else finding.help)


def _facts(report: Report, finding: Finding) -> str:
    """Where the noise comes from and where it goes, how much it does there unless the message says so, how often."""
    way = op_text(finding.op) if finding.norm is None else f"{_sources(report, finding)} → {op_text(finding.norm)}"
    delta = None if finding.delta is None else f"Δ = {delta_text(finding.delta)}"
    untold = delta if delta is not None and delta not in finding.message else None
    evidence = None if finding.evidence is None else f"evidence {finding.evidence}"
    facts = (f"{way} in {symbol_of(finding.model)}", untold, evidence, occurrences_text(finding))
    return ", ".join(fact for fact in facts if fact is not None)


def _sources(report: Report, finding: Finding) -> str:
    """The finding's dropout, then the others whose noise arrives at its norm; with shares if there are several."""
    norm = norm_of(report, finding)
    shares: defaultdict[str, float] = defaultdict(float)
    for blame in norm.sources if norm is not None else ():
        shares[blame.dropout] += blame.share
    if len(shares) < 2 or finding.op not in shares:
        return op_text(finding.op)
    names = [finding.op, *(name for name in shares if name != finding.op)]
    named = " + ".join(f"{op_text(name)} {share_text(shares[name])}" for name in names[:_MOST_SOURCES])
    return named if len(names) <= _MOST_SOURCES else f"{named} + {len(names) - _MOST_SOURCES} more"


def _error(console: Console, error: AnalysisError, verbose: bool) -> Iterator[Text]:
    yield from headed(console, visible(error.path), f"{error.kind} error", "bold red", error.message)
    yield from field(console, "help", error.hint)
    if verbose:
        for line in error.details.splitlines():
            yield Text(f"  {visible(line.expandtabs())}", "dim")


def _left_out(console: Console, models: Sequence[ModelReport], verbose: bool) -> Iterator[Text]:
    first = models[0]
    tone = "bold red" if first.status is Status.FAILED else "bold yellow"
    reason = first.reason or "no reason given"
    if len(models) == 1:
        yield from headed(console, visible(first.target), first.status, tone, reason)
        yield from field(console, "built", call_of(first) if first.arguments and first.arguments not in reason else "")
        return
    yield from headed(console, f"{len(models)} models", first.status, tone, cause(reason))
    yield from _indented(named([target_of(model) for model in models], all_of_them=verbose))
    yield from field(console, "help", remedy(reason))


def _opaque(console: Console, models: Sequence[ModelReport], verbose: bool) -> Iterator[Text]:
    each = "in each, " if len(models) > 1 else ""
    return _of_all(
        console, models, "incomplete", each + opaque_text(models[0], None if verbose else _MOST_OPAQUE), verbose
    )


def _remark(console: Console, models: Sequence[ModelReport], verbose: bool) -> Iterator[Text]:
    return _of_all(console, models, "note", models[0].reason or "", verbose)


def _of_all(console: Console, models: Sequence[ModelReport], kind: str, text: str, verbose: bool) -> Iterator[Text]:
    """What is to be said of several models alike, or of one."""
    one = len(models) == 1
    subject = visible(models[0].target) if one else f"{len(models)} models"
    yield from headed(console, subject, kind, "bold yellow", text)
    if not one:
        yield from _indented(named([model.target for model in models], all_of_them=verbose))


def _indented(lines: Iterator[str]) -> Iterator[Text]:
    return (Text(f"  {line}") for line in lines)


def _verdict(console: Console, report: Report) -> Iterator[Text]:
    worst = max((finding.severity for finding in report.findings), key=lambda severity: severity.rank, default=None)
    tone = "bold green" if all_clear(report) else "bold" if worst is None else _TONE[worst]
    yield from hanging(console, Text(), Text(verdict(report), tone))
    left = unjudged(report)
    if left:
        yield from hanging(console, Text("Not judged: ", "bold yellow"), Text(left))
