"""One measurement from end to end: target and data → worker → a table, beside what linting says. Prints nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

from dropcheck.config import Settings
from dropcheck.items import Item, items_of
from dropcheck.job import Feed, Job, Measurement, Outcome, are_several
from dropcheck.result import AnalysisError, Report
from dropcheck.run import as_asked, check_single
from dropcheck.shift import Evidence
from dropcheck.source import UsageError, parse_target, shown_path
from dropcheck.table import Progress, ShiftTable
from dropcheck.worker import Worker

DATA_SUFFIXES = (".npz", ".npy", ".pt", ".pth")


class Watching(Protocol):
    """Whoever wants to know how far a measurement is."""

    def hear(self, progress: Progress) -> object:
        """After every batch."""

    def stopping(self) -> object:
        """When it was asked to stop."""


class Unwatched:
    """Nobody wants to know."""

    def hear(self, progress: Progress) -> None:
        """Nothing happens."""

    def stopping(self) -> None:
        """Nothing happens."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What linting says of the model, and what was measured.

    ``table`` is None where nothing could be, and the report's errors say why; also in the processes that leave
    reporting to the first.
    """

    report: Report
    table: ShiftTable | None = None


def feed_of(text: str) -> Feed:
    """What ``--data`` means: a file of arrays, or a callable as in ``data.py:loader`` or ``package.data:loader(64)``.

    Raises:
        UsageError: it is neither, or there is no such file.
    """
    if text.endswith(DATA_SUFFIXES):
        if not os.path.isfile(text):
            raise UsageError(f"--data {text}: there is no such file")
        return Feed(shown_path(text), os.path.abspath(text))
    if os.path.exists(text) and not text.endswith(".py"):
        expected = f"expected {', '.join(DATA_SUFFIXES[:-1])}, or a callable as in data.py:loader"
        raise UsageError(f"--data {text}: not a file of arrays; {expected}")
    try:
        target = parse_target(text)
    except UsageError as error:
        raise UsageError(f"--data {error}") from error
    job = target.job()
    if job.symbol is None:
        raise UsageError(f"--data {text}: name what gives the batches, as in {text}:loader")
    return Feed(job.label, None, job.path, job.module, job.symbol, job.call)


def measure(
    target: str,
    settings: Settings,
    wanted: Measurement,
    *,
    input: str | None = None,
    weights: str | None = None,
    meter: Watching | None = None,
) -> Measured:
    """Measures the shifts of the one model that ``target`` names, and lints it unless it is to be recalibrated.

    ``meter`` is told how far it is. SIGINT ends the measuring after the batch in hand, and the table has what was
    measured until then; a second one, or one before anything was measured, is a KeyboardInterrupt. Raises UsageError.
    """
    started = perf_counter()
    check_single("one model is measured at a time", [target])
    (item,) = items_of([target], settings, input, weights)
    job = _job(item, wanted)
    if job is None:
        return _concluded(settings, None, Outcome(errors=item.errors), started)
    meter = meter or Unwatched()
    with Worker(timeout=settings.timeout, hear=meter.hear) as worker, _stopping(worker, meter):
        (outcome,) = worker.run([job])
    return _concluded(settings, job, replace(outcome, errors=(*item.errors, *outcome.errors)), started)


def _job(item: Item, wanted: Measurement) -> Job | None:
    if item.errors or not item.jobs:
        if not item.errors:
            raise UsageError(f"{item.file} holds no model; name the file that defines it")
        return None
    if len(item.jobs) > 1:
        calls = " or ".join(f"'{item.file}:{job.symbol}({job.call or ''})'" for job in item.jobs)
        raise UsageError(f"{item.symbol} is settled in several ways, and one model is measured at a time; name {calls}")
    return replace(item.jobs[0], measurement=wanted)


def _concluded(settings: Settings, job: Job | None, outcome: Outcome, started: float) -> Measured:
    from dropcheck.choice import choose, orders
    from dropcheck.engine import conclude, examine

    choice = choose(settings)
    recalibrating = job is not None and job.measurement is not None and job.measurement.recalibrate is not None
    rules = () if recalibrating else choice.rules
    errors: list[AnalysisError] = [*choice.errors, *outcome.errors]
    examined = []
    for captured in outcome.models:
        model, gap = (captured, []) if job is None else as_asked(captured, job)
        errors += gap
        examined.append(examine(model, rules, settings.thresholds))
    report = conclude(
        examined,
        errors,
        rules,
        files=int(job is not None),
        seconds=perf_counter() - started,
        orders=orders(settings, choice),
    )
    return Measured(report if outcome.table is None else _filled(report, outcome.table), outcome.table)


def _filled(report: Report, table: ShiftTable) -> Report:
    """The report with what was measured at each norm."""
    measured = {norm.name: norm.delta for norm in table}
    models = []
    for model in report.models:
        norms = tuple(replace(one, delta_measured=measured.get(one.name)) for one in model.norms)
        models.append(replace(model, norms=norms, evidence=Evidence.MEASURED if norms else model.evidence))
    return replace(report, models=tuple(models))


def leads() -> bool:
    """Whether this is the process that reports, of those that torchrun has started."""
    return not are_several(os.environ) or os.environ["RANK"] == "0"


@contextmanager
def _stopping(worker: Worker, meter: Watching) -> Iterator[None]:
    """While it is open, SIGINT ends the measuring, and is a KeyboardInterrupt where there is nothing to end."""

    def interrupted(*_: object) -> None:
        if not worker.stop():
            raise KeyboardInterrupt
        meter.stopping()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
