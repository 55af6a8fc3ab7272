"""``dropcheck recalibrate``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal, cast

from dropcheck.cli import measuring_options as measuring
from dropcheck.cli import options
from dropcheck.cli.meter import Meter
from dropcheck.cli.terminal import INTERRUPTED, exit_code, explain_gaps, is_colored, show, width
from dropcheck.config import FailOn, load_settings
from dropcheck.output import check_writable, drafted
from dropcheck.source import UsageError


def recalibrate(
    target: options.Target,
    weights: measuring.TrainedWeights,
    data: measuring.TrainingData,
    output: measuring.Recalibrated = None,
    in_place: measuring.InPlace = False,
    stat: measuring.Stat = "both",
    batches: measuring.AllBatches = None,
    batch_size: measuring.BatchSize = None,
    device: measuring.Device = "auto",
    amp: measuring.Amp = False,
    seed: measuring.Seed = 0,
    input: options.Input = None,
    format: options.Listing = "text",
    timeout: measuring.Timeout = None,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Estimate the running statistics again, with dropout off.

    They go into a new file of weights, and nothing else changes: it keeps its format and all else that is in it, and is
    marked as recalibrated. Use training data, augmented as in training. Ctrl-C ends it, and nothing is written.

    Exit code: 0 written, 2 wrong usage, 3 it could not be done and nothing was written, 130 interrupted.
    """
    from dropcheck.job import Measurement
    from dropcheck.measuring import feed_of, leads, measure

    final = _destination(weights, output, in_place)
    feed = feed_of(data)
    settings = load_settings(config, Path.cwd()).overruled(timeout=timeout)
    with drafted(final) as draft:
        wanted = Measurement(
            feed=feed,
            batches=batches,
            batch_size=batch_size,
            device=device,
            amp=amp,
            seed=seed,
            recalibrate=cast(Literal["both", "var"], stat),
            draft=str(draft.resolve()),
            patience=timeout,
        )
        with Meter(f"recalibrating {target}", silent=quiet or not leads()) as meter:
            measured = measure(target, settings, wanted, input=input, weights=str(weights), meter=meter)
        report, table = measured.report, measured.table
        explain_gaps(report, verbose=verbose, verdict_wanted=False)
        written = table is not None and table.complete
        if not written:
            draft.unlink(missing_ok=True)
        elif draft.exists():
            shutil.copymode(final if final.exists() else weights, draft)
    from dropcheck.report.shift_table import as_json, recalibrated_text

    if format == "json" and leads():
        show(as_json(report, table))
    elif table is not None:
        shown = str(final) if written else None
        show(recalibrated_text(table, str(weights), shown, color=is_colored(color, None), width=width()))
    return exit_code(report, FailOn.NEVER) if table is None or written else INTERRUPTED


def _destination(weights: Path, output: Path | None, in_place: bool) -> Path:
    """The file to write. Raises UsageError where it is not clear, or is the one that is read and nobody said so."""
    if in_place and output is not None:
        raise UsageError("--in-place and --output exclude each other")
    if output is None and not in_place:
        raise UsageError("name the file to write with --output FILE, or write over the weights with --in-place")
    final = weights if output is None else output
    if output is not None and (os.path.realpath(output) == os.path.realpath(weights) or _is_same(output, weights)):
        raise UsageError(f"--output {output} is the file of --weights; to write over it, say --in-place instead")
    suffix = ".safetensors"
    if (weights.suffix == suffix) != (final.suffix == suffix):
        expected = suffix if weights.suffix == suffix else weights.suffix or "another suffix"
        raise UsageError(f"--output {final}: the format stays that of {weights}; expected a name with {expected}")
    try:
        check_writable(final)
    except OSError as error:
        raise UsageError(f"--output {final}: {error}") from error
    return final


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and os.path.samefile(one, other)
