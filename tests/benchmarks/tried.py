"""One model of a census, tried: built, linted, and what it costs to run and trace it without dropcheck."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import dropcheck
from dropcheck.capture.replica import replica
from dropcheck.choice import choose, orders
from dropcheck.config import Settings
from dropcheck.engine import conclude, examine
from dropcheck.job import CapturedModel
from dropcheck.load import Began, analyse
from dropcheck.result import AnalysisError, Report, Status
from dropcheck.source import parse_target

from .zoo import Entry

_PLACE = re.compile(r"(?:/[^\s/:'\"]+)+/")


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one model.

    ``runs``: whether its forward runs on CPU with the example input, None where none was given. ``least``: processor
    seconds of its own forward on the meta device and of fx's symbolic trace. ``opaque`` are the operations nothing is
    known about, ``touched`` what linting it has changed.
    """

    zoo: str
    name: str
    built: bool
    capture: str | None = None
    error: str | None = None
    runs: bool | None = None
    by_design: bool = False
    ops: int = 0
    opaque: tuple[str, ...] = ()
    norms: int = 0
    dropouts: int = 0
    seconds: float | None = None
    least: float | None = None
    codes: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()


def tried(entry: Entry, names: dict[str, Any] | None) -> Tried:
    """The outcome for one model; for one of a list, ``names`` is its namespace."""
    torch.manual_seed(0)
    if names is None:
        return _guessed(entry)
    try:
        with torch.no_grad():
            model = entry.model(names)
            args, kwargs = entry.example(names)
    except Exception as error:  # noqa: BLE001 - foreign code
        return Tried(entry.zoo, entry.name, built=False, error=_told(error))
    # What a package does once, and keeps, is nobody's cost; kept from a run without memory it would be of no use.
    runs = _runs(model, args, kwargs)
    before = _state(model)
    start = time.process_time()
    report = dropcheck.lint(model, args, kwargs)
    seconds = time.process_time() - start
    least = least_work(model, args, kwargs)
    touched = tuple(key for key, value in _state(model).items() if not _same(before.get(key), value))
    return _tried(entry, report, seconds=seconds, least=least, touched=touched[:3], runs=runs)


def _guessed(entry: Entry) -> Tried:
    """A class that dropcheck has to find arguments and an input for, as ``dropcheck lint module:Class`` does."""
    settings = Settings()
    choice = choose(settings)
    start = time.process_time()
    told = [one for one in analyse(parse_target(entry.name).job()) if not isinstance(one, Began)]
    models = [one for one in told if isinstance(one, CapturedModel)]
    errors = [one for one in told if isinstance(one, AnalysisError)]
    examined = [examine(one, choice.rules, settings.thresholds) for one in models]
    report = conclude(examined, errors, choice.rules, files=0, seconds=0.0, orders=orders(settings, choice))
    return _tried(entry, report, seconds=time.process_time() - start)


def _tried(entry: Entry, report: Report, **more: Any) -> Tried:
    model = report.analysed[0] if report.analysed else None
    findings = tuple(f"{one.severity} {one.code} {one.op} → {one.norm}: {one.message}" for one in report.findings)
    codes = dict(sorted(Counter(one.code for one in report.findings).items()))
    reasons = [error.message for error in report.errors] or [one.reason or one.status for one in report.unanalysed]
    error = _without_places(reasons[0]) if reasons else None
    if model is None:
        built = not any(one.status is Status.SKIPPED or "constructing" in (one.reason or "") for one in report.models)
        design = any(one.by_design for one in report.models)
        return Tried(entry.zoo, entry.name, built=built and bool(report.models), error=error, by_design=design, **more)
    return Tried(
        entry.zoo,
        entry.name,
        built=True,
        capture=model.capture,
        error=error,
        ops=model.ops,
        opaque=model.opaque,
        norms=len(model.norms),
        dropouts=len(model.dropouts),
        codes=codes,
        findings=findings,
        **more,
    )


def least_work(model: nn.Module, args: Any, kwargs: Any) -> float:
    """Processor seconds of what a look at a model begins with, succeed or not: a meta forward and a symbolic trace."""
    meta = replica(model, "meta")
    inputs, named = tree_map(_on_meta, (args, kwargs))
    random = torch.get_rng_state()
    start = time.process_time()
    with contextlib.suppress(Exception), torch.no_grad():
        meta(*inputs, **named)
    with contextlib.suppress(Exception):
        torch.fx.symbolic_trace(meta)
    seconds = time.process_time() - start
    torch.set_rng_state(random)
    return seconds


def _on_meta(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, Tensor) else leaf


def _runs(model: nn.Module, args: Any, kwargs: Any) -> bool:
    inputs, named = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
    random = torch.get_rng_state()
    try:
        with torch.no_grad():
            replica(model, "cpu")(*inputs, **named)
    except Exception:  # noqa: BLE001 - foreign code
        return False
    finally:
        torch.set_rng_state(random)
    return True


def _state(model: nn.Module) -> dict[str, Any]:
    """What linting must not change."""
    with contextlib.suppress(Exception):
        tensors = {key: value.clone() for key, value in model.state_dict().items() if isinstance(value, Tensor)}
        flags = {f"{name}.training": module.training for name, module in model.named_modules()}
        return tensors | flags | {"random state": torch.get_rng_state()}
    return {}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True))
    return one == other


def _told(error: Exception) -> str:
    return _without_places(f"{type(error).__name__}: {error}")


def _without_places(text: str) -> str:
    """The first line, without the directories of this machine."""
    return _PLACE.sub("", (text.strip().splitlines() or [""])[0].replace(os.getcwd(), ""))
