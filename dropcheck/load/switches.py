"""A model once more with the dropout and the batch norm that its arguments' defaults leave out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from dropcheck.capture import ExampleInput
from dropcheck.graph import Graph
from dropcheck.job import CapturedModel
from dropcheck.load.model import Analysis, Live, with_arguments
from dropcheck.load.signatures import signature_of
from dropcheck.ops import BatchNorm, Dropout
from dropcheck.result import Status

DROP_RATE = 0.5
"""What dropout is switched on with: the default of torch's own layers."""

DROP_PATH_RATE = 0.2
MOST = 3
"""Switches of one model that are tried one at a time."""

_PATH = re.compile(r"(?i).*(drop_?path|stochastic_?depth|path_?drop).*|sd_?(prob|rate)")
_DROP = re.compile(r"(?i).*drop(out)?(_?(rate|ratio|prob|p))?|.*dropout.*|drop_?(rate|prob|p|ratio).*|p_?drop.*")
_NORM = re.compile(r"(?i)(use|with|do|apply|is|add|has)?_?(bn|batch_?norm(ali[sz]ation)?)")


def switched_on(live: Live, analysis: Analysis) -> Iterator[CapturedModel]:
    """An analysed model with its switches on: each by itself where the rest is as written, then all together.

    Nothing for a model that would still have no dropout or no batch norm, and for one whose arguments somebody gave.
    """
    graph = analysis.captured.graph
    if analysis.arguments is None or analysis.make is None or graph is None or analysis.example is None:
        return
    known = analysis.arguments.bound.arguments
    found = {name: value for name, value in _switches(analysis.make).items() if name not in known}
    sets = [found] if len(found) > 1 else []
    for switches in (*({name: value} for name, value in islice(found.items(), MOST)), *sets):
        if not _can_meet(graph, switches):
            continue
        captured = _with(live, analysis, analysis.example, switches)
        if captured is not None:
            yield captured


def _switches(make: Any) -> dict[str, Any]:
    """The arguments whose defaults leave out dropout or batch norm, each with a value that puts it in."""
    found: dict[str, Any] = {}
    for one in signature_of(make).parameters.values():
        if one.default is False and (_NORM.fullmatch(one.name) or _DROP.fullmatch(one.name)):
            found[one.name] = True
        elif one.default is None or (isinstance(one.default, int | float) and one.default == 0):
            if one.default is not False and _PATH.fullmatch(one.name):
                found[one.name] = DROP_PATH_RATE
            elif one.default is not False and _DROP.fullmatch(one.name):
                found[one.name] = DROP_RATE
    return found


def _can_meet(graph: Graph, switches: Mapping[str, Any]) -> bool:
    """Whether there may be both a dropout and a batch norm."""
    norms = any(_NORM.fullmatch(name) for name in switches)
    drops = any(not _NORM.fullmatch(name) for name in switches)
    has_norm = any(isinstance(node.op, BatchNorm) for node in graph)
    has_drop = any(isinstance(node.op, Dropout) and node.op.drop_rate > 0 for node in graph)
    return (norms or has_norm) and (drops or has_drop)


def _with(live: Live, analysis: Analysis, example: ExampleInput, switches: Mapping[str, Any]) -> CapturedModel | None:
    """None if it does not build or run so: a switch that needs more than its value is none."""
    assert analysis.arguments is not None
    assert analysis.make is not None
    bound = analysis.arguments.bound
    arguments = inspect.BoundArguments(bound.signature, {**bound.arguments, **switches})
    shown = tuple(f"{name}={value!r}" for name, value in switches.items())
    with_all = replace(analysis.arguments, bound=arguments, written=(*analysis.arguments.written, *shown))
    here = replace(live, examples=lambda _: (example,))
    target = analysis.captured.target
    captured = with_arguments(here, target, target.rpartition(":")[2], analysis.make, with_all).captured
    numbers = tuple(float(value) for value in switches.values() if not isinstance(value, bool))
    if captured.status is not Status.ANALYSED:
        return None
    return replace(captured, switched=shown, guessed=(*captured.guessed, *numbers))
