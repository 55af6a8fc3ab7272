"""The last words of the text report: what was found in how much, and what was not judged."""

from __future__ import annotations

from dropcheck.report.wording import delta_text, findings_text, left_out, plural
from dropcheck.result import Report, Status
from dropcheck.rule import Severity, Thresholds

_NOTEBOOKS = "make a .py file of each with jupyter nbconvert --to script, or call dropcheck.lint(model) in them"


def verdict(report: Report) -> str:
    """One line. It says ``All clear`` only if everything was judged and no shift was found, or suppressed, or large."""
    seconds = f"({report.seconds:.1f} s)"
    suppressed = _silenced(report)
    if report.findings:
        return f"{findings_text(report)} in {_scope(report)}{suppressed} {seconds}"
    if report.static:
        return f"No findings in {_scope(report)}, nothing was run{suppressed} {seconds}"
    if not report.analysed:
        what = "No models found" if report.complete else "Nothing analysed"
        return f"{what}{f' in {_scope(report)}' if report.files else ''}{suppressed} {seconds}"
    if all_clear(report):
        return f"All clear: {_measures(report)} {seconds}"
    if not suppressed and _shifts(report):
        suppressed = f", largest predicted shift {delta_text(report.largest_shift or 0.0)}"
    return f"No findings in {_scope(report)}{suppressed} {seconds}"


def _silenced(report: Report) -> str:
    """How many findings are not shown, and where they are named."""
    suppressed = f", {report.suppressed} suppressed" if report.suppressed else ""
    return f"{suppressed}, {report.baselined} in the baseline" if report.baselined else suppressed


def _scope(report: Report) -> str:
    """``3 models of 2 files``; where there are none of either, the other alone."""
    models, files = len(report.analysed), report.files
    if report.static:
        return f"the source of {plural(files, 'file')}"
    if models and files:
        return f"{plural(models, 'model')} of {plural(files, 'file')}"
    return plural(models, "model") if models else plural(files, "file")


def all_clear(report: Report) -> bool:
    """Whether models were analysed, all of them in whole, and nothing was found, not even what was suppressed.

    Nor is there a shift that warrants a warning: rules may have been left out, or not be sure of it (stochastic depth
    seen from the code alone).
    """
    silent = report.findings or report.suppressed or report.baselined or _shifts(report)
    return bool(report.analysed) and report.complete and not silent and not report.notebooks


def _shifts(report: Report) -> bool:
    largest = report.largest_shift
    return largest is not None and Thresholds().severity(largest) is not Severity.INFO


def unjudged(report: Report) -> str:
    """What the verdict does not cover, counted; empty if it covers everything."""
    out = left_out(report)
    skipped = sum(model.status is Status.SKIPPED for model in out)
    failed = sum(model.status is Status.FAILED for model in out) + len(report.errors)
    operations = sum(len(model.opaque) for model in report.models)
    norms = sum(norm.delta is None and norm.delta_measured is None for model in report.models for norm in model.norms)
    counts = (
        (failed, plural(failed, "failure")),
        (skipped, f"{plural(skipped, 'model')} skipped"),
        (operations, f"{plural(operations, 'operation')} not understood"),
        (norms, f"{plural(norms, 'batch norm')} without a prediction"),
        (report.notebooks, f"{plural(report.notebooks, 'notebook')} ({_NOTEBOOKS})"),
    )
    return ", ".join(text for count, text in counts if count)


def _measures(report: Report) -> str:
    norms = sum(len(model.norms) for model in report.models)
    largest = report.largest_shift
    shift = "" if largest is None else f", largest predicted shift {delta_text(largest)}"
    return f"{plural(len(report.analysed), 'model')}, {plural(norms, 'batch norm')}{shift}"
