"""Which models of a file are analysed when none is named."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from torch import nn

from dropcheck.job import Build, CapturedModel
from dropcheck.load.arguments import required
from dropcheck.load.build import Built
from dropcheck.load.failure import LoadError, to_install
from dropcheck.load.model import Analysis, Live, analysed, is_model_class, with_weights
from dropcheck.load.roots import A_BASE, has_no_layers, open_method, why_no_model
from dropcheck.load.stubs import missing_base
from dropcheck.nearest import suggest
from dropcheck.result import AnalysisError, ErrorKind, Status
from dropcheck.source import Candidate, Kind, Scan, shown_path

INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Began:
    """The model that is looked at from now on, so that a crash or a timeout can name it."""

    target: str


def survey(live: Live, scanned: Scan) -> Iterator[Began | Analysis]:
    """The models of a file: instances, factories and classes, users before what they use.

    Those that somebody has settled by hand come first, built as they say. A class met inside an analysed model is a
    part of it and not analysed again. What could not be built comes last: only then is it known whether something
    analysed uses it.
    """
    candidates = {one.name: one for one in scanned.candidates}
    seen = _Seen(live, candidates)
    postponed: list[tuple[Candidate, Analysis]] = []
    for settled in live.job.settled:
        yield Began(live.target(settled.symbol))
        built = _by_hand(live, settled, candidates)
        known = candidates.get(settled.symbol, Candidate(settled.symbol, Kind.INSTANCE, 0))
        yield seen.remember(known, built) if built.captured.status is Status.ANALYSED else built
    by_hand = {settled.symbol for settled in live.job.settled}
    for candidate in scanned.candidates:
        value = _live_object(live.module, candidate, candidates)
        base = missing_base(getattr(live.module, candidate.name, None))
        if base is not None:
            yield _without_base(live.target(candidate.name), base)
        if value is None or candidate.name in by_hand:
            continue
        reason = seen.reason_to_leave_out(candidate, value)
        if reason is not None:
            yield seen.left_out(candidate, reason)
            continue
        yield Began(live.target(candidate.name))
        result = _analysed(live, candidate, value)
        if result is None:
            continue
        if result.captured.status is Status.ANALYSED:
            yield seen.remember(candidate, result)
        elif (reason := _no_failure(value, result)) is not None:
            yield seen.left_out(candidate, reason)
        else:
            postponed.append((candidate, result))
    for candidate, result in postponed:
        user = seen.user_of(candidate)
        if user is not None:
            yield seen.left_out(candidate, user)
        else:
            yield result


def _without_base(target: str, base: str) -> Analysis:
    package = base.partition(".")[0]
    message = f"it derives from {base}, and {package!r} is not installed"
    error = AnalysisError(target, ErrorKind.IMPORT, message, to_install([package]))
    return Analysis(CapturedModel(target, Status.FAILED, message), error)


def _by_hand(live: Live, settled: Build, candidates: Iterable[str]) -> Analysis:
    """A model with the arguments, the input and the weights that somebody has said."""
    given = settled.input or live.job.input
    asked = replace(live.job, call=settled.call, input=given, weights=settled.weights, statistics=False)
    live = replace(live, job=asked)
    try:
        value: Any = live.module
        for part in settled.symbol.split("."):
            value = getattr(value, part, None)
        if value is None:
            said = settled.said or "the configuration"
            message = f"{live.job.label} has no {settled.symbol!r}, which {said} says how to build"
            raise LoadError(ErrorKind.CONFIG, message, suggest(settled.symbol, candidates))
        return _with_parts(with_weights(live, analysed(live, settled.symbol, value)))
    except LoadError as error:
        target = live.target(settled.symbol)
        return Analysis(CapturedModel(target, Status.FAILED, error.message), error.report(target))


def _analysed(live: Live, candidate: Candidate, value: Any) -> Analysis | None:
    """None for what turns out to be one of torch's own layers: no model anyone wrote."""
    try:
        result = analysed(live, candidate.name, value)
    except LoadError as error:
        target = live.target(candidate.name)
        return Analysis(CapturedModel(target, Status.FAILED, error.message), error.report(target))
    return None if candidate.kind is not Kind.CLASS and _is_torch_layer(result.built) else _with_parts(result)


def _no_failure(value: Any, result: Analysis) -> str | None:
    """Why something that could not be analysed needs no analysis; None if it does."""
    lacks = result.error is not None and result.error.kind is ErrorKind.IMPORT  # what it lacks may be its layers
    if result.built is not None and not lacks and has_no_layers(result.built.model):
        return "it has no layers, no dropout and no norm"
    fails = NotImplementedError.__name__ in (result.captured.reason or "") and isinstance(value, type)
    left = open_method(value) if fails else None
    return None if left is None else f"its {left} is left open: {A_BASE}"


def _with_parts(result: Analysis) -> Analysis:
    """With the classes of other files that the model is made of, and its own where it comes from one."""
    built = result.built
    if built is None or result.captured.status is not Status.ANALYSED:
        return result
    own = result.captured.target.rpartition(":")[0]
    found = dict.fromkeys(_defined(type(module)) for module in built.model.modules())
    parts = tuple(target for target in found if target and target.rpartition(":")[0] != own)
    return replace(result, captured=replace(result.captured, parts=parts))


def _defined(made: type) -> str:
    """``models/blocks.py:Block``: where a class is defined; empty if it is not in a file of the user's."""
    file = getattr(sys.modules.get(made.__module__), "__file__", None)
    if made.__module__.startswith("torch.") or file is None or any(name in file for name in INSTALLED):
        return ""
    return f"{shown_path(file)}:{made.__qualname__}"


def _is_torch_layer(built: Built | None) -> bool:
    if built is None:
        return False
    return type(built.model).__module__.startswith("torch.nn.") and not any(built.model.children())


def _live_object(module: ModuleType, candidate: Candidate, candidates: dict[str, Candidate]) -> Any | None:
    """What a candidate turned out to be, None if it is no model."""
    value = getattr(module, candidate.name, None)
    match candidate.kind:
        case Kind.INSTANCE:
            return value if isinstance(value, nn.Module) else None
        case Kind.CLASS:
            return value if is_model_class(value) and value.__module__ == module.__name__ else None
        case Kind.FACTORY:
            return value if inspect.isfunction(value) and _makes_model(module, candidate, candidates) else None


def _makes_model(
    module: ModuleType, factory: Candidate, candidates: dict[str, Candidate], passed: frozenset[str] = frozenset()
) -> bool:
    """Whether what a function evidently returns is a module."""
    for dotted in factory.returns:
        value: Any = module
        for part in dotted.split("."):
            value = getattr(value, part, None)
        if is_model_class(value):
            return True
        if value is not None and getattr(value, "__module__", "").partition(".")[0] in ("torchvision", "timm"):
            return True
        other = candidates.get(dotted)
        followed = other is not None and other.kind is Kind.FACTORY and dotted not in passed
        if followed and other is not None and _makes_model(module, other, candidates, passed | {factory.name}):
            return True
    return False


class _Seen:
    """What the models analysed so far are made of."""

    def __init__(self, live: Live, candidates: Mapping[str, Candidate]) -> None:
        self.live, self.candidates = live, candidates
        self.wholes: dict[type[nn.Module], str] = {}
        self.parts: dict[type[nn.Module], str] = {}
        self.analysed: list[CapturedModel] = []
        self.users: list[tuple[str, str]] = []

    def remember(self, candidate: Candidate, result: Analysis) -> Analysis:
        """Notes an analysed model; one that is the same as an earlier one is left out."""
        captured = result.captured
        assert result.built is not None
        whole, *parts = result.built.model.modules()
        self.wholes.setdefault(type(whole), captured.target)
        for part in parts:
            self.parts.setdefault(type(part), captured.target)
        self.users.append((candidate.name, captured.target))
        assert captured.graph is not None
        for earlier in self.analysed:
            if earlier.graph is not None and earlier.graph.nodes == captured.graph.nodes:
                return self.left_out(candidate, f"the same network as {earlier.target}")
        self.analysed.append(captured)
        return result

    def reason_to_leave_out(self, candidate: Candidate, value: Any) -> str | None:
        """Why a candidate needs no analysis of its own."""
        if candidate.kind is Kind.FACTORY:
            user = self._user(candidate.name, through=self._is_part)
            return None if user is None else f"part of {user}"
        if candidate.kind is not Kind.CLASS:
            return None
        if value in self.parts:
            return f"part of {self.parts[value]}"
        if value in self.wholes and required(value):
            return f"built by {self.wholes[value]}"
        return why_no_model(value)

    def user_of(self, candidate: Candidate) -> str | None:
        """The analysed model that uses a candidate which could not be analysed itself, or whose class it makes."""
        user = self._user(candidate.name, through=lambda name: True)
        if user is not None:
            return f"part of {user}"
        made = [getattr(self.live.module, name, None) for name in candidate.returns if "." not in name]
        wholes = [self.wholes[one] for one in made if isinstance(one, type) and one in self.wholes]
        return f"makes {wholes[0]} with other arguments" if wholes else None

    def _is_part(self, name: str) -> bool:
        return getattr(self.live.module, name, None) in self.parts

    def _user(self, name: str, through: Callable[[str], bool]) -> str | None:
        """The analysed model that refers to a candidate, itself or by way of others that ``through`` accepts."""
        for user, target in self.users:
            pending, passed = [user], {user}
            while pending:
                uses = self.candidates[pending.pop()].uses
                if name in uses:
                    return target
                pending += [one for one in uses - passed if through(one)]
                passed |= uses
        return None

    def left_out(self, candidate: Candidate, reason: str) -> Analysis:
        return Analysis(CapturedModel(self.live.target(candidate.name), Status.SKIPPED, reason, by_design=True))
