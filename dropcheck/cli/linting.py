"""``dropcheck lint``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from dropcheck.baseline import Entry, entries, gone, read_baseline, without_known
from dropcheck.baseline import write_baseline as write
from dropcheck.cli import options
from dropcheck.cli.meter import Meter
from dropcheck.cli.terminal import deliver, exit_code, explain_gaps, is_colored, say, width
from dropcheck.config import FailOn, load_settings
from dropcheck.report import render, renderer
from dropcheck.report.wording import plural
from dropcheck.result import Report
from dropcheck.source import UsageError


def lint(
    targets: options.Targets = None,
    input: options.Input = None,
    weights: options.Weights = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    format: options.Format = "text",
    output: options.Output = None,
    fail_on: options.Threshold = None,
    static: options.Static = False,
    baseline: options.Baseline = None,
    write_baseline: options.WriteBaseline = None,
    timeout: options.Timeout = None,
    jobs: options.Jobs = None,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Analyse models and report what harms them.

    Exit code: 0 nothing to report, 1 findings, 2 wrong usage, 3 something could not be analysed.
    """
    from dropcheck.run import lint_targets

    if baseline is not None and write_baseline is not None:
        raise UsageError("--baseline reads what --write-baseline writes; give one of them")
    settings = load_settings(config, Path.cwd())
    settings = settings.overruled(select, ignore, fail_on, timeout, baseline=write_baseline or baseline)
    known = read_baseline(settings.baseline) if settings.baseline is not None and write_baseline is None else ()
    meter = Meter("linting", silent=quiet, unit="files")
    with ExitStack() as shown:
        report = lint_targets(
            targets or ["."],
            settings,
            input=input,
            weights=weights,
            static=static,
            jobs=jobs or os.cpu_count() or 1,
            meanwhile=lambda: (renderer(format), shown.enter_context(meter)),
            watch=meter.watch,
        )
    if write_baseline is not None:
        known = _kept(report, write_baseline)
    elif settings.baseline is not None:
        _mention_gone(gone(report, known, settings.baseline), settings.baseline)
    report = without_known(report, known)
    explain_gaps(report, verbose=verbose, verdict_wanted=not quiet and format != "text")
    text = render(
        report,
        format,
        color=is_colored(color, output),
        width=width(),
        quiet=quiet,
        verbose=verbose,
        errors=False,
    )
    deliver(text, output)
    return exit_code(report, settings.fail_on)


def _kept(report: Report, file: Path) -> tuple[Entry, ...]:
    """Writes the baseline, unless the run did not even begin as it was meant."""
    if exit_code(report, FailOn.NEVER) == 2:
        say(f"dropcheck: {file} is not written: first correct what is wrong with the command or the configuration")
        return ()
    write(file, report)
    say(f"dropcheck: {plural(len(report.findings), 'finding')} kept as known in {file}")
    return entries(report.findings, file)


def _mention_gone(entries: Sequence[Entry], file: Path) -> None:
    if entries:
        named = ", ".join(f"{entry.code} {entry.op} in {entry.path}" for entry in entries[:3])
        more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
        say(
            f"dropcheck: {plural(len(entries), 'known finding')} of {file} no longer found: {named}{more}; "
            f"--write-baseline {file} takes them out"
        )
