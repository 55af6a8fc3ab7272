"""One run from end to end: what the user names → jobs → worker → graphs → findings → Report. Prints nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

from dropcheck.config import Settings
from dropcheck.job import CapturedModel, Job
from dropcheck.result import AnalysisError, ErrorKind, Report, Status
from dropcheck.rule import Rule
from dropcheck.source import Target, UsageError, find_files, parse_target, scan, shown_path
from dropcheck.worker import Worker


@dataclass(frozen=True, slots=True)
class _Item:
    """One file or target of a run; with neither job nor error it cannot hold a model. No ``file``: it names none."""

    file: str | None
    job: Job | None = None
    error: AnalysisError | None = None


def lint_targets(
    targets: Sequence[str],
    settings: Settings,
    *,
    input: str | None = None,
    weights: str | None = None,
    jobs: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
) -> Report:
    """Analyses files, directories and targets such as ``nets.py:Net(depth=20)``, at most ``jobs`` at a time.

    ``input`` is an input spec, ``weights`` the file of a trained state dict for the one model that is named;
    ``meanwhile`` is called while the worker imports torch. What cannot be analysed is among the report's errors, wrong
    usage as kind ``config``. Raises UsageError if ``settings`` names a rule that is none, or weights come without one
    file or target.
    """
    if weights is not None:
        _check_single("weights belong to one model", targets)
    rules = partial(_enabled, settings)
    return _report(targets, settings, rules, input=input, weights=weights, jobs=jobs, meanwhile=meanwhile)


def statistics_of(target: str, settings: Settings, *, weights: str | None = None) -> Report:
    """The weight layers of the models that a file or target names, each with its cos²θ.

    ``weights`` as for :func:`lint_targets`; without them, those of initialisation. Raises UsageError for a directory.
    """
    _check_single("statistics are those of one model", [target])
    return _report([target], settings, tuple, weights=weights, statistics=True)


def _report(
    targets: Sequence[str],
    settings: Settings,
    rules_wanted: Callable[[], tuple[Rule, ...]],
    *,
    input: str | None = None,
    weights: str | None = None,
    statistics: bool = False,
    jobs: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
) -> Report:
    started = perf_counter()
    items: list[_Item] = []
    with ExitStack() as stack:
        worker: Worker | None = None
        for item in _items(targets, settings.exclude, input, weights):
            items.append(item)
            if item.job is not None and worker is None:
                worker = stack.enter_context(Worker(timeout=settings.timeout, jobs=jobs))

        # Not before the worker has begun to import torch: these take their time too.
        from dropcheck.engine import conclude, examine

        rules = rules_wanted()
        if worker is not None:
            import dropcheck.flow  # noqa: F401 - the rules will ask the graphs, and this brings networkx

            meanwhile()
        errors = [item.error for item in items if item.error is not None]
        jobs_wanted = dict.fromkeys(item.job for item in items if item.job is not None)
        asked = [replace(job, statistics=statistics) for job in jobs_wanted]
        examined = {}
        for job, outcome in zip(asked, worker.run(asked) if worker is not None else (), strict=True):
            errors += outcome.errors
            for captured in outcome.models:
                model, gap = _as_asked(captured, job)
                errors += gap
                examined[model.target, model.arguments] = examine(model, rules, settings.thresholds)
    files = {item.file for item in items if item.file is not None}
    return conclude(examined.values(), errors, rules, files=len(files), seconds=perf_counter() - started)


def _enabled(settings: Settings) -> tuple[Rule, ...]:
    from dropcheck.engine import UnknownCode, enabled
    from dropcheck.rules import BUILTIN

    try:
        return enabled(BUILTIN, settings.select, settings.ignore)
    except UnknownCode as error:
        raise UsageError(str(error)) from error


def _check_single(why: str, targets: Sequence[str]) -> None:
    if len(targets) != 1 or os.path.isdir(targets[0]):
        given = f"{len(targets)} are given" if len(targets) != 1 else f"{targets[0]} is a directory"
        raise UsageError(f"{why}, and {given}; name it, as in nets.py:Net")


def _items(targets: Iterable[str], exclude: Iterable[str], input: str | None, weights: str | None) -> Iterator[_Item]:
    parsed: list[Target] = []
    for text in targets:
        try:
            parsed.append(parse_target(text))
        except UsageError as error:
            yield _Item(None, error=_usage_error(text, error))
    found = find_files([target.path for target in parsed if target.path and not target.symbol], exclude)
    yield from (_Item(None, error=error) for error in found.errors)
    for target in (*map(Target, found.files), *(target for target in parsed if target.symbol)):
        yield _item(target, input, weights)


def _item(target: Target, input: str | None, weights: str | None) -> _Item:
    if target.path is None:
        return _Item(target.module, target.job(input, weights))
    file = shown_path(str(target.path))
    seen = scan(target.path)
    if seen.error is not None:
        return _Item(file, error=seen.error)
    wanted = target.symbol is not None or weights is not None or seen.may_hold_models
    return _Item(file, target.job(input, weights) if wanted else None)


def _usage_error(text: str, error: UsageError) -> AnalysisError:
    message, _, hint = str(error).removeprefix(f"{text}: ").partition("; ")
    return AnalysisError(text, ErrorKind.CONFIG, message, hint)


def _as_asked(model: CapturedModel, job: Job) -> tuple[CapturedModel, list[AnalysisError]]:
    """A skipped model whose very symbol was asked for is a failure, and an error says so."""
    if model.status is not Status.SKIPPED or job.symbol is None:
        return model, []
    message, _, hint = (model.reason or "").partition("; ")
    return replace(model, status=Status.FAILED), [AnalysisError(model.target, ErrorKind.CONSTRUCT, message, hint)]
