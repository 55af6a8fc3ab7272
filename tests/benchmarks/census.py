"""What dropcheck makes of the models of public packages: built, captured, understood, and in what time. Markdown.

Run from the root of the repository, where the packages are installed:

    python -m tests.benchmarks.census --models models.jsonl --packages monai kornia --output tests/benchmarks/CENSUS.md

Runs of a part (``--shard 0/4 --results part0.jsonl``) are put together by ``--join part0.jsonl part1.jsonl …``.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dropcheck

from .census_tables import document
from .command import deliver, parser
from .forks import forked
from .tried import Tried, least_work, tried
from .zoo import Entry, classes, listed

_A_DAY = 86400.0


def main(arguments: Sequence[str] | None = None) -> None:
    known = parser("census", __doc__)
    known.add_argument("--models", nargs="*", type=Path, default=[], metavar="FILE", help="lists of models, JSON lines")
    known.add_argument("--packages", nargs="*", default=[], metavar="NAME", help="all model classes of these")
    known.add_argument("--only", nargs="*", default=[], metavar="NAME", help="zoos, or models as zoo/name")
    known.add_argument("--shard", default="0/1", metavar="I/N", help="every N-th model, from the I-th")
    known.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time (default 1)")
    known.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="for a model (default 120)")
    known.add_argument("--results", type=Path, metavar="FILE", help="also writes every outcome here, JSON lines")
    known.add_argument("--join", nargs="*", type=Path, default=[], metavar="FILE", help="outcomes of other runs")
    known.add_argument("--verbose", action="store_true", help="names every finding and opaque operation on stderr")
    options = known.parse_args(arguments)
    results = [_read(line) for file in options.join for line in file.read_text(encoding="utf-8").splitlines()]
    results += _census(options)
    if options.results is not None:
        options.results.write_text("".join(json.dumps(asdict(one)) + "\n" for one in results), encoding="utf-8")
    text = document(sorted(results, key=lambda one: (one.zoo, one.name)))
    deliver(text, options.output)


def _census(options: argparse.Namespace) -> Iterator[Tried]:
    """Zoo after zoo, each imported in a process of its own."""
    entries = sorted((entry for file in options.models for entry in listed(file)), key=lambda entry: entry.zoo)
    zoos: list[tuple[str, Callable[[], Sequence[Entry]]]] = [
        (zoo, partial(list, group))
        for zoo, found in groupby(entries, lambda entry: entry.zoo)
        for group in [list(found)]
    ]
    zoos += [(package, lambda package=package: list(classes(package))) for package in options.packages]
    for zoo, members in zoos:
        host = partial(_hosted, members, options)
        for answer in forked([host], 1, _A_DAY, partial(_lost_zoo, zoo)):
            yield from map(_read, answer["tried"])


def _hosted(members: Callable[[], Iterable[Entry]], options: argparse.Namespace) -> Mapping[str, Any]:
    """The outcomes of one zoo: its packages are imported once, then every model has a fork."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    _warm()
    first, _, step = options.shard.partition("/")
    entries = [one for one in members() if _is_wanted(one, options.only)][int(first) :: int(step)]
    spaces = {one.setup: one.namespace() for one in entries if one.build is not None}
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    tasks = [partial(_answer, one, spaces.get(one.setup) if one.build is not None else None) for one in entries]
    answers = []
    for answer in forked(tasks, options.jobs, options.limit, partial(_lost, entries)):
        answers.append(answer)
        _tell(_read(answer), f"{len(answers)}/{len(entries)}", options.verbose)
    return {"tried": answers}


def _is_wanted(entry: Entry, only: Sequence[str]) -> bool:
    return not only or entry.zoo in only or f"{entry.zoo}/{entry.name}" in only


def _answer(entry: Entry, names: dict[str, Any] | None) -> Mapping[str, Any]:
    return asdict(tried(entry, names))


def _lost(entries: Sequence[Entry], number: int, why: str) -> Mapping[str, Any]:
    entry = entries[number]
    return asdict(Tried(entry.zoo, entry.name, built=False, error=why))


def _lost_zoo(zoo: str, _: int, why: str) -> Mapping[str, Any]:
    return {"tried": [asdict(Tried(zoo, zoo, built=False, error=why))]}


def _read(row: str | Mapping[str, Any]) -> Tried:
    fields = dict(json.loads(row) if isinstance(row, str) else row)
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return Tried(**plain)


def _warm() -> None:
    """Has torch and dropcheck import, before any clock starts, what they import on first use."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(8, 2))
    least_work(net, (torch.zeros(2, 1, 4, 4),), {})
    dropcheck.lint(net, torch.zeros(2, 1, 4, 4))


def _tell(one: Tried, place: str, verbose: bool) -> None:
    codes = " ".join(f"{code}x{count}" for code, count in one.codes.items())
    seconds = "" if one.seconds is None else f" {one.seconds:.2f} s"
    told = f"{place} {one.zoo} {one.name}: {one.capture or 'not captured'}{seconds} {codes} {one.error or ''}"
    details = "".join(f"\n    {text}" for text in (*one.findings, *one.opaque)) if verbose else ""
    print(f"{told.rstrip()}{details}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
