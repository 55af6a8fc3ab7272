"""A job that asks for measuring: the model built and captured as for linting, then run on the data."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Event
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dropcheck.capture import ExampleInput
from dropcheck.job import CapturedModel, Job, Measurement
from dropcheck.load.analyse import imported, the_model
from dropcheck.load.build import seed
from dropcheck.load.checkpoint import Checkpoint, read
from dropcheck.load.data import Cut, Synthetic, name_of, open_feed, until, with_first
from dropcheck.load.failure import LoadError, described, foreign
from dropcheck.load.model import Analysis, with_weights
from dropcheck.load.save import statistics_to_write, write_recalibrated
from dropcheck.load.settle import UNTRAINED, is_untrained, settled_on
from dropcheck.load.survey import Began
from dropcheck.load.together import together
from dropcheck.load.weights import fit
from dropcheck.measure.batches import Arguments, readings
from dropcheck.measure.distributed import Ranks
from dropcheck.measure.probing import Probing
from dropcheck.measure.recalibrating import Recalibrating
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.shift import predict
from dropcheck.source.spec import InputSpec
from dropcheck.table import SYNTHETIC, MeasurementError, Progress, ShiftTable, joined

Told = Began | CapturedModel | AnalysisError | Progress | ShiftTable

_NO_PREDICTIONS = (
    "the weights are marked as recalibrated: no shift is predicted between them and evaluation, which the shift ratio "
    "shows; Δ still compares dropout off with dropout on"
)
_EXAMPLES = 8
"""Samples of a batch that the model is captured on."""


class _Unfit(Exception):
    """The model cannot be measured, and why has been told."""


@dataclass(frozen=True)
class _Batches:
    """The data of a measurement, before it is known which model they are for."""

    wanted: Measurement

    @cached_property
    def opened(self) -> tuple[Any, Iterable[Any]]:
        """The first batch, and all of them."""
        assert self.wanted.feed is not None
        seed()
        return with_first(self.name, open_feed(self.wanted.feed, self.wanted.batch_size, self.wanted.seed))

    @property
    def name(self) -> str:
        return SYNTHETIC if self.wanted.feed is None else name_of(self.wanted.feed)

    def examples(self, model: nn.Module) -> Iterator[ExampleInput]:
        """A few samples in every way in which forward may take them."""
        if self.wanted.feed is None:
            return
        first, batches = self.opened
        batch = next(iter(batches.suited(model))) if isinstance(batches, Cut) else first
        for arguments in () if batch is None else readings(model, batch):
            yield _example(arguments)

    def for_model(self, model: nn.Module, example: ExampleInput | None) -> Iterable[Any]:
        """Raises LoadError where they have to be made up, and nothing is known of what the model takes."""
        if self.wanted.feed is not None:
            _, batches = self.opened
            return batches.suited(model) if isinstance(batches, Cut) else batches
        if example is None:
            message = "it is not known what its forward takes, so no data can be made up"
            raise LoadError(ErrorKind.MEASURE, message, "give data with --data, or their shape as in --input 2x3x32x32")
        return Synthetic(example, self.wanted.batch_size, self.wanted.seed)


@dataclass(frozen=True, slots=True)
class _Ready:
    """All that measuring takes."""

    run: Probing | Recalibrating
    model: nn.Module
    batches: Iterable[Any]
    checkpoint: Checkpoint | None
    captured: CapturedModel
    notes: tuple[str, ...]

    def beside_predictions(self, table: ShiftTable) -> ShiftTable:
        """The table with what linting predicts; for weights that were recalibrated that is another shift."""
        notes, graph = self.notes, self.captured.graph
        if graph is not None:
            shifts = self.captured.shifts or predict(graph)
            if isinstance(self.run, Recalibrating):
                shifts = replace(shifts, norms={})
            elif self.checkpoint is not None and self.checkpoint.recalibrated is not None:
                shifts, notes = replace(shifts, norms={}), (*notes, _NO_PREDICTIONS)
            table = joined(table, graph, shifts)
        return replace(table, notes=(*table.notes, *notes))


def measured(job: Job) -> Iterator[Told]:
    """Tells what linting tells of the job's one model, then how far measuring is, and at last what was measured.

    SIGINT ends it after the batch in hand, with what was measured until then. Where torchrun has started several
    processes they work together, and the first of them tells the table and writes the file. Foreign code runs.
    """
    wanted, stop = job.measurement, Event()
    assert wanted is not None
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    target = job.label if job.symbol is None else f"{job.label}:{job.symbol}"
    try:
        with together(wanted.device) as device:
            ready = yield from _agreed(_prepared(job, replace(wanted, device=device)))
            yield from _run(ready, job, wanted, stop)
    except LoadError as error:
        yield error.report(target)
    except MeasurementError as error:
        yield AnalysisError(target, ErrorKind.MEASURE, error.message, error.hint)
    except _Unfit:
        return


def _agreed(preparing: Generator[Told, None, _Ready]) -> Generator[Told, None, _Ready]:
    """Prepares, and meets the other processes. Raises MeasurementError where one of them cannot go on."""
    failure: LoadError | _Unfit
    try:
        ready = yield from preparing
    except (LoadError, _Unfit) as error:
        failure = error
    else:
        Ranks.current().agree(None)
        return ready
    Ranks.current().agree(str(failure))
    raise failure


def _prepared(job: Job, wanted: Measurement) -> Generator[Told, None, _Ready]:
    live, scanned = imported(job)
    data = _Batches(wanted)
    yield Progress(0, None, 0)  # from here on it may take its time: data may have to be fetched first
    if wanted.feed is not None:
        data.opened  # noqa: B018 - what is wrong with the data is said before anything else
    analysis: Analysis | None = None
    for one in the_model(replace(live, examples=data.examples), scanned):
        if isinstance(one, Began):
            yield one
        elif not one.captured.by_design:
            analysis = one
    assert analysis is not None
    predicted = analysis if wanted.recalibrate is not None else with_weights(live, analysis)
    yield predicted.captured
    if predicted.error is not None:
        yield predicted.error
    if analysis.built is None:
        raise _Unfit(analysis.captured.reason or "it could not be built")
    name = analysis.captured.target.rpartition(":")[2]
    with foreign(
        ErrorKind.CONSTRUCT, f"constructing {name} failed", "give arguments its constructor accepts", job.path
    ):
        model = analysis.built.again()
    checkpoint = None if job.weights is None else read(job.weights)
    if checkpoint is not None:
        fit(model, checkpoint, f"{name}({analysis.captured.arguments or ''})")
    batches = data.for_model(model, analysis.example)
    notes: tuple[str, ...] = (UNTRAINED,) if is_untrained(model) else ()
    if isinstance(batches, Synthetic):
        notes += settled_on(model, batches, wanted.batches)
    return _Ready(_runner(model, wanted, data.name), model, batches, checkpoint, predicted.captured, notes)


def _example(arguments: Arguments) -> ExampleInput:
    """The first few of the samples."""
    size = arguments.size

    def few(leaf: Any) -> Any:
        held = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == size
        return leaf[:_EXAMPLES].detach() if held else leaf

    args, kwargs = tree_map(few, (arguments.args, dict(arguments.kwargs)))
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    specs = (InputSpec(tuple(leaf.shape), str(leaf.dtype).removeprefix("torch.")) for leaf in leaves)
    return ExampleInput(args, kwargs, ",".join(map(str, specs)), given=True)


def _runner(model: nn.Module, wanted: Measurement, data: str) -> Probing | Recalibrating:
    """Raises LoadError."""
    try:
        if wanted.recalibrate is not None:
            return Recalibrating(
                model, stat=wanted.recalibrate, device=wanted.device, amp=wanted.amp, seed=wanted.seed, data=data
            )
        return Probing(
            model, device=wanted.device, amp=wanted.amp, seed=wanted.seed, attribute=wanted.attribute, data=data
        )
    except MeasurementError as error:
        raise LoadError(ErrorKind.MEASURE, error.message, error.hint) from error


def _run(ready: _Ready, job: Job, wanted: Measurement, stop: Event) -> Iterator[Told]:
    """On several processes, all have to come to every step of this together, also where only some are stopped."""
    ranks = Ranks.current()
    yield from ready.run.steps(until(ready.batches, stop), wanted.batches)
    table = ready.run.table()
    stopped = any(ranks.everyones(stop.is_set()))
    if isinstance(ready.run, Recalibrating) and not stopped:
        _save(ready.run, ready, job, wanted, ranks)
    if ranks.rank == 0:
        yield replace(ready.beside_predictions(table), complete=table.complete and not stopped)


def _save(run: Recalibrating, ready: _Ready, job: Job, wanted: Measurement, ranks: Ranks) -> None:
    """Writes the recalibrated weights. Raises LoadError, and MeasurementError where another process should have."""
    failure: LoadError | None = None
    run.commit()
    if ranks.rank == 0 and ready.checkpoint is not None and wanted.draft is not None and job.weights is not None:
        assert wanted.recalibrate is not None
        try:
            statistics = statistics_to_write(ready.checkpoint, ready.model)
            write_recalibrated(job.weights, wanted.draft, statistics, wanted.recalibrate)
        except LoadError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - of a full disk, and of what a library makes of one
            text = f"the recalibrated weights cannot be written: {described(error)}"
            failure = LoadError(
                ErrorKind.MEASURE, text, "nothing was written; make room there, or name another --output"
            )
    ranks.agree(None if failure is None else failure.message)
    if failure is not None:
        raise failure
