"""A model that is alive in this process, captured without leaving a trace on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dropcheck.capture import CaptureError, ExampleInput, capture
from dropcheck.capture.memory import is_large
from dropcheck.capture.replica import replica
from dropcheck.capture.symbolic import Refused, refuse
from dropcheck.job import CapturedModel, Outcome
from dropcheck.load.checkpoint import Checkpoint, read, unwrapped
from dropcheck.load.inputs import example_inputs
from dropcheck.load.statistics import from_training, statistics
from dropcheck.load.trained import weighed
from dropcheck.result import AnalysisError, ErrorKind, Status

_HINT = "pass an input its forward accepts: lint(model, example_input, example_kwargs)"


Weights = str | os.PathLike[str] | Mapping[str, Any]


def capture_live(
    model: nn.Module, example_input: Any, example_kwargs: Mapping[str, Any] | None, weights: Weights | None = None
) -> Outcome:
    """Captures copies of ``model``, which itself is never run or changed, under the name of its class.

    ``example_input`` is a tensor or a tuple of positional arguments; without it and ``example_kwargs`` inputs are
    inferred. ``weights``, a file or a state dict, are loaded into a copy; without them the model's own count if its
    batch norms have seen data. What cannot be captured is an error of the outcome, never an exception.
    """
    name = type(model).__name__
    try:
        traced, twin = _copies(model)
        result = capture(traced, _inputs(traced, example_input, example_kwargs), twin=twin)
    except CaptureError as error:
        return _failed(name, error.message, error.details)
    except Exception as error:  # noqa: BLE001 - copying a model runs foreign code, which may raise anything
        return _failed(name, f"a copy of it cannot be made: {type(error).__name__}: {error}")
    captured = CapturedModel(name, Status.ANALYSED, capture=result.how, input=result.input, graph=result.graph)
    if weights is None and not from_training(statistics(model, result.graph)):
        return Outcome((captured,))
    checkpoint = None if weights is None else partial(_checkpoint, weights)
    judged = weighed(captured, result.example, lambda: replica(model, "cpu"), checkpoint)
    judged = judged.unasked if weights is None else judged
    if judged.error is None:
        return Outcome((judged.captured,))
    told = judged.error.report(name)
    return Outcome((judged.captured,), (replace(told, hint=_HINT) if told.kind is ErrorKind.CAPTURE else told,))


def _copies(model: nn.Module) -> tuple[nn.Module, Callable[[], nn.Module]]:
    """A copy to trace, and what gives one to run: the same where nothing of it will be traced, as copies take long."""
    if is_large(model):
        return replica(model, "meta"), lambda: replica(model, "cpu")
    copy = replica(model, "cpu")
    try:
        refuse(copy)
    except Refused:
        return copy, lambda: copy
    return replica(model, "meta"), lambda: copy


def _checkpoint(weights: Weights) -> Checkpoint:
    if isinstance(weights, str | os.PathLike):
        return read(os.fspath(weights))
    given = unwrapped("the state dict", weights)
    return replace(given, tensors={key: _copied(tensor) for key, tensor in given.tensors.items()})


def _failed(name: str, message: str, details: str = "") -> Outcome:
    failed = CapturedModel(name, Status.FAILED, message)
    return Outcome((failed,), (AnalysisError(name, ErrorKind.CAPTURE, message, _HINT, details),))


def _inputs(model: nn.Module, example_input: Any, example_kwargs: Mapping[str, Any] | None) -> Iterable[ExampleInput]:
    if example_input is None and example_kwargs is None:
        return example_inputs(model, None, {})
    args = () if example_input is None else example_input if isinstance(example_input, tuple) else (example_input,)
    given = (args, dict(example_kwargs or {}))
    shapes = ["x".join(map(str, leaf.shape)) for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
    args, kwargs = tree_map(_copied, given)
    return [ExampleInput(args, kwargs, ",".join(shapes) or None, given=True)]


def _copied(leaf: Any) -> Any:
    """A copy, of an object too: a graph may keep what it is asked for. What does not let itself be copied is shared."""
    if isinstance(leaf, Tensor):
        return leaf.detach().to("cpu", copy=True)
    if not hasattr(leaf, "__dict__"):
        return leaf
    try:
        return deepcopy(leaf)
    except Exception:  # noqa: BLE001 - copying runs foreign code, which may raise anything
        return leaf
