"""Which way in works: symbolic tracing, a recorded run, a recorded run in evaluation mode, in that order."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn

from dropcheck.capture import symbolic, traced
from dropcheck.capture.calls import Call
from dropcheck.capture.catalogue import operation
from dropcheck.capture.evaluation import mark_draws
from dropcheck.capture.example import Budget, ExampleInput, OverBudget
from dropcheck.capture.lower import lower
from dropcheck.capture.memory import at_most, is_exhausted, is_large
from dropcheck.capture.record import record
from dropcheck.capture.replica import replica
from dropcheck.capture.surroundings import undisturbed
from dropcheck.graph import Graph, Site
from dropcheck.ops import Pool

PATIENCE = 3.0
"""A model is run for real: that is quick and lets values steer it. A large one, or one whose run
takes more than PATIENCE seconds, is run on the meta device first: it needs neither memory nor arithmetic there, but
loading the meta kernels takes one or two."""

ENDURANCE = 8.0
"""Seconds that what needs values may take on a guessed input."""

PERSISTENCE = 4
"""Guessed inputs that are tried for the sake of one that leaves the global pools something to pool."""


class CaptureError(Exception):
    """A model whose forward could be followed in no way; ``hint`` says what to try, ``details`` is a traceback."""

    def __init__(self, message: str, hint: str, details: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.details = message, hint, details


How = Literal["fx", "record"]


@dataclass(frozen=True, slots=True)
class _Run:
    """The calls that were found, how, and what was run for it: the model and its input as it got it."""

    calls: list[Call]
    how: How
    model: nn.Module
    example: ExampleInput | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """A captured model: its graph, the way that worked, and the input it ran on (None: none did, or none given)."""

    graph: Graph
    how: How
    example: ExampleInput | None

    @property
    def input(self) -> str | None:
        """How reports name the input."""
        return None if self.example is None else self.example.spec


def capture(
    model: nn.Module,
    inputs: Iterable[ExampleInput] = (),
    *,
    twin: Callable[[], nn.Module],
    built: Mapping[str, Site] | None = None,
    failed: Callable[[ExampleInput, Exception], object] = lambda example, error: None,
    memory: int | None = None,
) -> Capture:
    """The graph of ``model``'s forward in training.

    Args:
        model: traced symbolically, never run, so it may live on any device; it may gain attributes.
        inputs: example inputs in the order to try them; the first on which forward runs gives the shapes.
        twin: makes the model that is run. It is called at most once, and its result may be changed.
        built: construction sites by module path.
        failed: told of each input on which forward fails, before the next one is asked for.
        memory: bytes that one run may take, in a process of one's own; what needs more is run on the meta device.

    A model in evaluation mode is read as ``model.train()`` leaves it; in a model in training mode, submodules held
    in evaluation mode stay so. The state of torch's, Python's and numpy's random numbers is left as it was.

    Raises:
        CaptureError: no way worked.
    """
    with undisturbed(model), torch.no_grad():
        return _Attempt(model, twin, built or {}, memory).over(inputs, failed)


class _Attempt:
    def __init__(
        self, model: nn.Module, twin: Callable[[], nn.Module], built: Mapping[str, Site], memory: int | None
    ) -> None:
        self.model = _as_trained(model)
        self.built, self.memory = built, memory
        self.make_twin = twin
        self._twin: nn.Module | None = None
        self._phantom: nn.Module | None = None
        self.flags = {path: module.training for path, module in self.model.named_modules()}
        self.large = is_large(model)
        self.failure: Exception | None = None
        self.latest: Exception | None = None
        self.refusal, self.is_endless = "", False

    def over(self, inputs: Iterable[ExampleInput], failed: Callable[[ExampleInput, Exception], object]) -> Capture:
        graph = self._trace()
        tried: list[ExampleInput] = []
        collapsed: tuple[_Run, ExampleInput] | None = None
        for example in inputs:
            tried.append(example)
            run = self._run(graph, example)
            if run is not None:
                if example.given or not _collapses(run.calls):
                    return self._told(run, example)
                collapsed = collapsed or (run, example)
            elif self.latest is not None:
                failed(example, self.latest)
            if collapsed is not None and len(tried) > PERSISTENCE:
                break
        if collapsed is not None:
            return self._told(*collapsed)
        for example in tried:
            run = self._after_all(self.twin.eval(), None, example)
            if run is not None:
                return self._told(run, example)
        if graph is not None and not any(example.given for example in tried):
            traced.forget_shapes(graph)
            return self._told(_Run(traced.calls(graph, self.model), "fx", self.model), None)
        raise self._error()

    def _told(self, run: _Run, example: ExampleInput | None) -> Capture:
        mark_draws(run.calls, run.model, run.example, Budget(PATIENCE))
        classes = {path: type(module).__name__ for path, module in self.model.named_modules()}
        return Capture(lower(run.calls, self.built, classes), run.how, example)

    def _trace(self) -> fx.Graph | None:
        try:
            return symbolic.trace(self.model)
        except symbolic.Refused as refused:
            self.refusal = str(refused)
            return None

    def _run(self, graph: fx.Graph | None, example: ExampleInput) -> _Run | None:
        """One run in training mode; None if it fails."""
        if not self.large:
            try:
                with at_most(self.memory):
                    return self._run_on(self.twin, graph, example, Budget(PATIENCE))
            except OverBudget as error:
                self.large = True
                self._note(error)
        run = self._run_on(self.phantom, graph, example.on_meta, Budget())
        return run or self._after_all(self.twin, graph, example)

    def _after_all(self, model: nn.Module, graph: fx.Graph | None, example: ExampleInput) -> _Run | None:
        """What needs values is run for real, on guessed inputs only as far as that may be worth it."""
        if self.is_endless and not example.given:
            return None
        memory, seconds = (None, None) if example.given else (self.memory, ENDURANCE)
        try:
            with at_most(memory):
                return self._run_on(model, graph, example, Budget(seconds))
        except OverBudget as error:
            self.is_endless = True
            self._note(error)
            return None

    def _run_on(self, model: nn.Module, graph: fx.Graph | None, example: ExampleInput, budget: Budget) -> _Run | None:
        if graph is not None:
            try:
                traced.run(graph, model, example, budget)
                return _Run(traced.calls(graph, model), "fx", model, example)
            except OverBudget:
                raise
            except Exception as error:  # noqa: BLE001 - traced code is foreign, and a recorded run may still work
                self._note(error)
        return self._recorded(model, example, budget)

    def _recorded(self, model: nn.Module, example: ExampleInput, budget: Budget) -> _Run | None:
        flags = {path: module.training for path, module in model.named_modules()}
        try:
            return _Run(record(model, example, self.flags, budget), "record", model, example)
        except OverBudget:
            raise
        except Exception as error:  # noqa: BLE001 - a foreign forward may raise anything; the first is reported
            self._note(error)
            return None
        finally:
            for path, module in model.named_modules():
                module.training = flags.get(path, True)

    def _note(self, error: Exception) -> None:
        """The first failure is the one to report: inputs come best guess first. OverBudget if memory lacked."""
        if is_exhausted(error):
            raise OverBudget("a run takes too much memory") from error
        self.latest = error
        if self.failure is None or isinstance(self.failure, symbolic.Refused):
            self.failure = error

    @property
    def twin(self) -> nn.Module:
        if self._twin is None:
            self._twin = _as_trained(self.make_twin())
        return self._twin

    @property
    def phantom(self) -> nn.Module:
        """The model without memory behind its tensors."""
        if self._phantom is None:
            self._phantom = replica(self.model, "meta")
        return self._phantom

    def _error(self) -> CaptureError:
        if self.failure is None:
            return CaptureError(
                f"torch.fx cannot follow its forward ({self.refusal}) and there is no example input to run it on",
                "give one with --input, as in --input 2x3x32x32",
            )
        if isinstance(self.failure, OverBudget):
            hint = "give a smaller input with --input, or one on which its loops come to an end"
            return CaptureError(f"forward could not be run to its end: {self.failure}", hint)
        kind, text = type(self.failure).__name__, str(self.failure).strip().split("\n")[0]
        details = "".join(traceback.format_exception(self.failure))
        return CaptureError(
            f"forward raised {kind}: {text}", "give an input it accepts with --input, as in --input 2x3x32x32", details
        )


def _collapses(calls: Iterable[Call]) -> bool:
    """Whether a global pool has nothing left to pool: the guessed input is smaller than what the model is made for."""
    found = map(operation, calls)
    return any(isinstance(op, Pool) and op.is_global and op.window == 1 for op in found)


def _as_trained(model: nn.Module) -> nn.Module:
    return model if model.training else model.train()
