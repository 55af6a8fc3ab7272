"""What the user names: each file or target of a run, with what the worker is asked about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dropcheck.config import Settings
from dropcheck.job import Build, Job
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.source import (
    Malformed,
    Scan,
    Target,
    UsageError,
    file_of_module,
    find_files,
    parse_target,
    scan,
    shown_path,
)


@dataclass(frozen=True, slots=True)
class Item:
    """One file or target; with neither job nor error it cannot hold a model.

    ``file`` is how reports call it, None where it names none. ``seen`` is what the file says without being run, None
    for a module whose file is not found; ``symbol`` what is wanted of it, None for all. ``notebooks`` were found and
    not read.
    """

    file: str | None
    path: Path | None = None
    symbol: str | None = None
    seen: Scan | None = None
    jobs: tuple[Job, ...] = ()
    errors: tuple[AnalysisError, ...] = ()
    notebooks: int = 0


def items_of(targets: Iterable[str], settings: Settings, input: str | None, weights: str | None) -> Iterator[Item]:
    """The files that ``targets`` name or hold, then the targets with a symbol; wrong ones are errors."""
    parsed: list[Target] = []
    for text in targets:
        try:
            parsed.append(parse_target(text))
        except UsageError as error:
            yield Item(None, errors=(_usage_error(text, error),))
    paths = [target.path for target in parsed if target.path and not target.symbol]
    found = find_files(paths, settings.exclude, settings.root)
    if found.errors or found.notebooks:
        yield Item(None, errors=found.errors, notebooks=found.notebooks)
    for target in (*map(Target, found.files), *(target for target in parsed if target.symbol)):
        yield _item(target, settings, input, weights)


def _item(target: Target, settings: Settings, input: str | None, weights: str | None) -> Item:
    path = target.path or file_of_module(target.module or "")
    if path is None:
        return Item(target.module, symbol=target.symbol, jobs=(target.job(input, weights),))
    file = shown_path(str(path))
    seen = scan(path)
    item = Item(file, path, target.symbol, seen)
    if seen.error is not None:
        return replace(item, errors=(seen.error,))
    settled = (*_configured(path, settings), *seen.comments.builds)
    wrong = tuple(_wrong_build(file, one.site.line, one) for one in seen.comments.malformed if one.builds)
    job = target.job(input, weights)
    if target.symbol is not None:
        return replace(item, jobs=tuple(_as_settled(job, settled)), errors=wrong)
    wanted = weights is not None or seen.may_hold_models or bool(settled)
    return replace(item, jobs=(replace(job, settled=settled),) if wanted else (), errors=wrong)


def _configured(path: Path, settings: Settings) -> Iterator[Build]:
    """What the configuration says of the models of one file."""
    real = os.path.realpath(path)
    yield from (build for file, build in settings.models if os.path.realpath(file) == real)


def _as_settled(job: Job, settled: Sequence[Build]) -> Iterator[Job]:
    """The job for one symbol, once for each way in which it is settled unless the command line gives a call."""
    builds = [one for one in settled if one.symbol == job.symbol] if job.call is None else []
    for one in builds:
        yield replace(job, call=one.call, input=job.input or one.input, weights=job.weights or one.weights)
    if not builds:
        yield job


def _usage_error(text: str, error: UsageError) -> AnalysisError:
    message, _, hint = str(error).removeprefix(f"{text}: ").partition("; ")
    return AnalysisError(text, ErrorKind.CONFIG, message, hint)


def _wrong_build(file: str, line: int, wrong: Malformed) -> AnalysisError:
    return AnalysisError(file, ErrorKind.CONFIG, f"line {line}: {wrong.message}", wrong.help)
