"""``dropcheck probe``."""

from __future__ import annotations

from pathlib import Path

from dropcheck.cli import measuring_options as measuring
from dropcheck.cli import options
from dropcheck.cli.meter import Meter
from dropcheck.cli.terminal import INTERRUPTED, deliver, exit_code, explain_gaps, is_colored, width
from dropcheck.config import FailOn, Settings, load_settings
from dropcheck.rule import Severity
from dropcheck.source import UsageError
from dropcheck.table import ShiftTable

_BATCHES = 50
_BATCHES_OF_NOISE = 24


def probe(
    target: options.Target,
    weights: options.Weights = None,
    data: measuring.Data = None,
    batches: measuring.Batches = None,
    batch_size: measuring.BatchSize = None,
    device: measuring.Device = "auto",
    amp: measuring.Amp = False,
    seed: measuring.Seed = 0,
    attribute: measuring.Attribute = False,
    input: options.Input = None,
    plot: measuring.Plot = None,
    format: options.Listing = "text",
    output: options.Output = None,
    fail_on: measuring.Threshold = "never",
    timeout: measuring.Timeout = None,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Measure the shift at every batch norm on batches of data.

    It is shown beside the predicted one. Every batch runs twice, with dropout off and with dropout on; nothing is
    trained. Ctrl-C ends it with what was measured so far. Under torchrun the batches are shared among the processes,
    and the first of them reports.

    Exit code: 0 measured, 1 a shift at or above --fail-on, 2 wrong usage, 3 not everything could be measured or
    predicted, 130 interrupted.
    """
    from dropcheck.job import Measurement
    from dropcheck.measuring import feed_of, leads, measure

    settings = load_settings(config, Path.cwd()).overruled(timeout=timeout)
    wanted = Measurement(
        feed=None if data is None else feed_of(data),
        batches=batches or (_BATCHES_OF_NOISE if data is None else _BATCHES),
        batch_size=batch_size,
        device=device,
        amp=amp,
        seed=seed,
        attribute=attribute,
        patience=timeout,
    )
    with Meter(f"measuring {target}", silent=quiet or not leads()) as meter:
        measured = measure(target, settings, wanted, input=input, weights=weights, meter=meter)
    report, table = measured.report, measured.table
    explain_gaps(report, verbose=verbose, verdict_wanted=False)
    if table is not None and plot is not None:
        _draw(table, plot)
    if leads() and (table is not None or format == "json"):
        from dropcheck.report.shift_table import as_json, as_text

        if table is None or format == "json":
            deliver(as_json(report, table), output)
        else:
            deliver(as_text(report, table, color=is_colored(color, output), width=width()), output)
    if table is not None and not table.complete:
        return INTERRUPTED
    return exit_code(report, FailOn.NEVER) or _unmeasured(table) or _shifted(table, settings, fail_on)


def _unmeasured(table: ShiftTable | None) -> int:
    """3 where what arrived at a norm was no number; its row says so."""
    reached = () if table is None else (norm for norm in table if norm.moving_var_per_channel)
    return 3 if any(norm.train_var is None for norm in reached) else 0


def _shifted(table: ShiftTable | None, settings: Settings, fail_on: str) -> int:
    worst = None if table is None else table.worst
    if worst is None or fail_on == FailOn.NEVER:
        return 0
    thresholds = settings.thresholds
    return int(worst.badness >= (thresholds.error if fail_on == Severity.ERROR else thresholds.warning))


def _draw(table: ShiftTable, file: Path) -> None:
    from dropcheck.report.plot import draw

    try:
        draw(table, file)
    except OSError as error:
        raise UsageError(f"{file}: the picture cannot be written: {error.strerror}") from error
