"""One run from end to end: what the user names → jobs → worker → graphs → findings → Report. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import perf_counter

from dropcheck.config import Settings
from dropcheck.items import Item, items_of
from dropcheck.job import CapturedModel, Job, Outcome
from dropcheck.result import AnalysisError, ErrorKind, ModelReport, Report, Status
from dropcheck.rule import Subject
from dropcheck.source import UsageError
from dropcheck.worker import Worker

Watch = Callable[[int, int, str], object]


def lint_targets(
    targets: Sequence[str],
    settings: Settings,
    *,
    input: str | None = None,
    weights: str | None = None,
    static: bool = False,
    jobs: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
    watch: Watch = lambda done, total, at: None,
) -> Report:
    """Analyses files, directories and targets such as ``nets.py:Net(depth=20)``, at most ``jobs`` at a time.

    ``input`` is an input spec, ``weights`` the file of a trained state dict for the one model that is named;
    ``static``: the sources are read and nothing in them is run; ``meanwhile`` is called while the worker imports torch,
    ``watch`` with how many of how many files are done, whenever that changes, and which file is waited for.
    What cannot be analysed is among the report's errors, wrong usage as kind ``config``. Raises UsageError if
    ``settings`` names a rule that is none, or weights come without one file or target, or with ``static``.
    """
    if static and (weights is not None or input is not None):
        raise UsageError("nothing is built with --static: it takes neither weights nor an input")
    if weights is not None:
        check_single("weights belong to one model", targets)
    return _report(
        targets, settings, input=input, weights=weights, static=static, jobs=jobs, meanwhile=meanwhile, watch=watch
    )


def statistics_of(target: str, settings: Settings, *, weights: str | None = None) -> Report:
    """The weight layers of the models that a file or target names, each with its cos²θ.

    ``weights`` as for :func:`lint_targets`; without them, those of initialisation. Raises UsageError for a directory.
    """
    check_single("statistics are those of one model", [target])
    return _report([target], settings, weights=weights, statistics=True, ruled=False)


def subjects_of(
    target: str, settings: Settings, *, input: str | None = None, weights: str | None = None
) -> tuple[Report, tuple[Subject, ...]]:
    """The captured models that a file or target names, with their shifts, and what could not be captured.

    No rule is run. ``input`` and ``weights`` as for :func:`lint_targets`. Raises UsageError for a directory.
    """
    check_single("a graph is that of one model", [target])
    captured: list[CapturedModel] = []
    report = _report([target], settings, input=input, weights=weights, ruled=False, see=captured.append)
    from dropcheck.engine import subject_of

    return report, tuple(subject_of(one, settings.thresholds) for one in captured if one.graph is not None)


def _report(
    targets: Sequence[str],
    settings: Settings,
    *,
    input: str | None = None,
    weights: str | None = None,
    statistics: bool = False,
    static: bool = False,
    ruled: bool = True,
    jobs: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
    watch: Watch = lambda done, total, at: None,
    see: Callable[[CapturedModel], object] = lambda captured: None,
) -> Report:
    started = perf_counter()
    items: list[Item] = []
    with ExitStack() as stack:
        worker: Worker | None = None
        for item in items_of(targets, settings, input, weights):
            items.append(_unbuilt(item) if static else item)
            if items[-1].jobs and worker is None:
                worker = stack.enter_context(Worker(timeout=settings.timeout, jobs=jobs))

        # Not before the worker has begun to import torch: these take their time too.
        from dropcheck.choice import Choice, choose, orders
        from dropcheck.engine import Examined, conclude, examine
        from dropcheck.parts import Users, without_parts
        from dropcheck.reading import crosschecked, reading
        from dropcheck.switched import with_switched

        choice = choose(settings) if ruled else Choice()
        read = stack.enter_context(reading(_readable(items), choice.rules, watch))
        meanwhile()
        errors = [*choice.errors, *(error for item in items for error in item.errors)]
        examined, switched, graphs, seen = {}, [], [], []
        for job, outcome in _outcomes(worker, items, watch, statistics=statistics, switches=ruled):
            errors += outcome.errors
            for captured in outcome.models:
                model, gap = as_asked(captured, job)
                errors += gap
                see(model)
                graphs += [model.graph] if model.graph is not None else []
                if model.switched:
                    switched.append((model, examine(model, choice.rules, settings.thresholds)))
                    continue
                seen.append(replace(model, graph=None))
                examined[model.target, model.arguments] = examine(model, choice.rules, settings.thresholds)
        found = read()
    wholes, errors = without_parts(with_switched(examined.values(), switched), errors, Users.of(seen, items))
    models, told = crosschecked(found, wholes, graphs, _symbols(items))
    linted = {item.file: item.seen.comments for item in items if item.file and item.seen and not item.symbol}
    report = conclude(
        (*models, *(Examined(model) for item in items for model in (_models(item) if static else ()))),
        (*errors, *found.errors),
        choice.rules,
        read=told,
        files=len({item.file for item in items if item.file is not None}),
        seconds=perf_counter() - started,
        orders=orders(settings, choice, linted, static=static),
    )
    return replace(report, notebooks=sum(item.notebooks for item in items))


def _readable(items: Iterable[Item]) -> Iterator[str]:
    return (item.file for item in items if item.file and item.seen is not None and item.seen.error is None)


def _symbols(items: Sequence[Item]) -> dict[str, frozenset[str]]:
    """The symbols that are asked for, of the files that are not linted in whole."""
    whole = {item.file for item in items if item.symbol is None}
    partly = {item.file for item in items if item.file is not None and item.symbol is not None} - whole
    return {
        file: frozenset(item.symbol for item in items if item.file == file and item.symbol) for file in partly if file
    }


def _outcomes(
    worker: Worker | None, items: Iterable[Item], watch: Watch, *, statistics: bool, switches: bool
) -> Iterator[tuple[Job, Outcome]]:
    """Each job once, with the worker's answer."""
    jobs_wanted = dict.fromkeys(job for item in items for job in item.jobs)
    asked = [replace(job, statistics=statistics, switches=switches) for job in jobs_wanted]
    answers = worker.run(asked) if worker is not None else iter(())
    for done, job in enumerate(asked):
        watch(done, len(asked), job.label)
        yield job, next(answers)


def _unbuilt(item: Item) -> Item:
    """What is only read, and so a module is an error whose file only the import system would find."""
    if item.path is not None or item.file is None:
        return replace(item, jobs=())
    message = "the file of this module is not found, and --static imports nothing to find it"
    hint = f"name the file, as in {item.file.replace('.', '/')}.py"
    target = f"{item.file}:{item.symbol}"
    return replace(item, jobs=(), errors=(AnalysisError(target, ErrorKind.CONFIG, message, hint),))


def _models(item: Item) -> Iterator[ModelReport]:
    """What in a file may be a model, none of it built."""
    reason = "not built: --static only reads sources"
    for one in item.seen.candidates if item.seen is not None else ():
        if item.symbol is None or item.symbol == one.name:
            target = f"{item.file}:{one.name}"
            yield ModelReport(target, Status.SKIPPED, reason, capture="source", by_design=True)


def check_single(why: str, targets: Sequence[str]) -> None:
    """Raises UsageError, which says ``why``, unless there is one target that is no directory."""
    if len(targets) != 1 or os.path.isdir(targets[0]):
        given = f"{len(targets)} are given" if len(targets) != 1 else f"{targets[0]} is a directory"
        raise UsageError(f"{why}, and {given}; name it, as in nets.py:Net")


def as_asked(model: CapturedModel, job: Job) -> tuple[CapturedModel, list[AnalysisError]]:
    """A skipped model whose very symbol was asked for is a failure, and an error says so."""
    if model.status is not Status.SKIPPED or job.symbol is None:
        return model, []
    message, _, hint = (model.reason or "").partition("; ")
    return replace(model, status=Status.FAILED), [AnalysisError(model.target, ErrorKind.CONSTRUCT, message, hint)]
