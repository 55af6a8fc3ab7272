"""``dropcheck stats``."""

from __future__ import annotations

from pathlib import Path

from dropcheck.cli import options
from dropcheck.cli.terminal import deliver, exit_code, explain_gaps, is_colored, width
from dropcheck.config import FailOn, load_settings


def stats(
    target: options.Target,
    weights: options.Weights = None,
    format: options.Listing = "text",
    output: options.Output = None,
    timeout: options.Timeout = None,
    config: options.Config = None,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Show how far the weights of each layer agree: cos²θ, d·cos²θ.

    Dropout ahead of a layer shifts the batch norm behind it the less, the larger d·cos²θ is (Li et al. 2019, Table 1).
    """
    from dropcheck.run import statistics_of

    report = statistics_of(target, load_settings(config, Path.cwd()).overruled(timeout=timeout), weights=weights)
    from dropcheck.report.stats import as_json, as_text

    explain_gaps(report, verbose=verbose, verdict_wanted=True)
    text = as_json(report) if format == "json" else as_text(report, color=is_colored(color, output), width=width())
    deliver(text, output)
    return exit_code(report, FailOn.NEVER)
