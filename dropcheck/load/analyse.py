"""Everything that is done for one job, in the order in which it is told."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from torch import nn

from dropcheck.capture import construction_sites
from dropcheck.job import CapturedModel, Job
from dropcheck.load.build import initialisation_skipped
from dropcheck.load.failure import LoadError
from dropcheck.load.importing import import_job
from dropcheck.load.loaded import loaded_models
from dropcheck.load.model import Analysis, Live, analysed, is_model_class, with_weights
from dropcheck.load.roots import why_no_model
from dropcheck.load.survey import Began, survey
from dropcheck.load.switches import switched_on
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.source import Scan, scan

Told = Began | CapturedModel | AnalysisError


def analyse(job: Job) -> Iterator[Told]:
    """Imports what the job names, builds and captures its models, and tells each result as soon as there is one.

    Foreign code runs: what it raises is told, what it does to the process (exit, hang, crash) is the caller's care.
    """
    try:
        live, scanned = imported(job)
        alone = job.symbol is not None or job.weights is not None
        for one in the_model(live, scanned) if alone else survey(live, scanned):
            if isinstance(one, Began):
                yield one
                continue
            told = with_weights(live, one)
            yield from _told(told)
            if job.switches and told.captured.shifts is None:
                yield from switched_on(live, one)
    except LoadError as error:
        yield error.report(job.label if job.symbol is None else f"{job.label}:{job.symbol}")


def _told(result: Analysis) -> Iterator[Told]:
    yield result.captured
    if result.error is not None:
        yield result.error


def the_model(live: Live, scanned: Scan) -> Iterator[Began | Analysis]:
    """The model that the job names, or the file's only one with its parts.

    Raises:
        LoadError: the file has several, or none, or nothing of that name.
    """
    symbol = live.job.symbol
    if symbol is not None:
        yield Began(live.target(symbol))
        value = _symbol(live, symbol)
        reason = why_no_model(value) if is_model_class(value) else None
        if reason is not None:
            raise LoadError(ErrorKind.CAPTURE, f"{symbol} is no model: {reason}", "name a class that derives from it")
        yield analysed(live, symbol, value)
        return
    results = []
    for one in survey(live, scanned):
        if isinstance(one, Began):
            yield one
        else:
            results.append(one)
    wholes = [one for one in results if not one.captured.by_design]
    if len(wholes) != 1:
        targets = ", ".join(one.captured.target for one in wholes)
        what = "the weights are those of" if live.job.weights is not None else "what is measured is"
        message = f"{what} one model, and this file has {len(wholes) or 'none'}"
        which = "the one they belong to" if live.job.weights is not None else "the one that is meant"
        hint = f"name {which}: {targets}" if targets else "name the file that defines it"
        raise LoadError(ErrorKind.CONFIG, message, hint)
    yield from results


def imported(job: Job) -> tuple[Live, Scan]:
    """The file of a job, run, and what its source says. Raises LoadError."""
    scanned = Scan() if job.path is None else scan(job.path)
    if scanned.error is not None:
        raise LoadError(scanned.error.kind, scanned.error.message, scanned.error.hint)
    skipping = nullcontext() if job.initialised else initialisation_skipped()
    with construction_sites() as sites, loaded_models() as loaded, skipping:
        module = import_job(job, scanned.level)
    return Live(job, module, sites, loaded), scanned


def _symbol(live: Live, name: str) -> Any:
    """What ``name``, dotted or not, stands for in the file. Raises LoadError with the nearest names."""
    found: Any = live.module
    for part in name.split("."):
        if not hasattr(found, part):
            raise LoadError(ErrorKind.CONFIG, f"{live.job.label} has no {name!r}", _suggestion(live.module, name))
        found = getattr(found, part)
    return found


def _suggestion(module: ModuleType, name: str) -> str:
    models = [key for key, value in vars(module).items() if _is_own_model(module, value)]
    close = get_close_matches(name, models, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if models:
        return f"choose from {', '.join(models[:12])}"
    return "it defines no nn.Module class, no function and no instance of a module"


def _is_own_model(module: ModuleType, value: object) -> bool:
    own = getattr(value, "__module__", None) == module.__name__
    return isinstance(value, nn.Module) or (own and (is_model_class(value) or inspect.isfunction(value)))
