"""``dropcheck lint``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from dropcheck.cli import options
from dropcheck.cli.terminal import deliver, exit_code, explain_gaps, is_colored, width
from dropcheck.config import load_settings
from dropcheck.report import render, renderer


def lint(
    targets: options.Targets = None,
    input: options.Input = None,
    weights: options.Weights = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    format: options.Format = "text",
    output: options.Output = None,
    fail_on: options.Threshold = None,
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

    settings = load_settings(config, Path.cwd()).overruled(select, ignore, fail_on, timeout)
    at_once = jobs or os.cpu_count() or 1
    meanwhile = partial(renderer, format)
    wanted = targets or ["."]
    report = lint_targets(wanted, settings, input=input, weights=weights, jobs=at_once, meanwhile=meanwhile)
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
