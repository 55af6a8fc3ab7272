"""One class, function or instance of an imported file: built, given an input, captured."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from types import ModuleType
from typing import Any

from torch import nn

from dropcheck.capture import BuiltSites, Capture, CaptureError, ExampleInput, capture
from dropcheck.job import CapturedModel, Job
from dropcheck.load.arguments import Arguments, Unknown, argument_sets
from dropcheck.load.build import WORTH_A_GUESS, Built, adopt, build
from dropcheck.load.checkpoint import Recalibrated, read
from dropcheck.load.failure import LoadError, foreign, limited, to_install
from dropcheck.load.finder import lacking, missing
from dropcheck.load.inputs import Examples
from dropcheck.load.statistics import statistics
from dropcheck.load.stubs import NOT_INSTALLED
from dropcheck.load.trained import weighed, with_statistics
from dropcheck.result import AnalysisError, ErrorKind, Status

MOST_BUILDS = 12
MOST_CAPTURES = 4
MOST_SECONDS = 12.0
"""Guesses of constructor arguments that are tried until a model builds and can be captured."""

OF_MANY = 30.0
"""Seconds for the forward of a model, where a file may have others that are to have their turn."""

MEMORY = 2**31
"""Bytes that one run may take."""


@dataclass(frozen=True, slots=True)
class Live:
    """The imported file: its module, the construction sites of what it built itself, and the job it serves.

    ``examples`` are inputs for forward that are known to be right, to be tried before any others.
    ``loaded`` are the models into which the file has loaded weights of its own, and the mark on these weights.
    """

    job: Job
    module: ModuleType
    sites: BuiltSites
    loaded: Mapping[nn.Module, Recalibrated | None] = field(default_factory=dict)
    examples: Callable[[nn.Module], Iterable[ExampleInput]] = lambda _: ()

    def target(self, symbol: str) -> str:
        return f"{self.job.label}:{symbol}"

    @property
    def classes(self) -> list[type]:
        """The classes the file defines."""
        values = vars(self.module).values()
        return [one for one in values if isinstance(one, type) and one.__module__ == self.module.__name__]


@dataclass(frozen=True, slots=True)
class Analysis:
    """One model, and what went wrong with it; the live one if it was built, and the input it was captured on.

    ``make`` and ``arguments`` are what it was built with, unless somebody gave the arguments.
    """

    captured: CapturedModel
    error: AnalysisError | None = None
    built: Built | None = None
    example: ExampleInput | None = None
    make: Callable[..., Any] | None = None
    arguments: Arguments | None = None


def is_model_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def analysed(live: Live, name: str, value: Any) -> Analysis:
    """Builds what a symbol stands for and captures it; guesses of arguments are tried until one works."""
    target = live.target(name)
    if isinstance(value, nn.Module):
        if live.job.call is not None:
            message = f"{name} is an instance, not a class or function: it takes no arguments"
            raise LoadError(ErrorKind.CONFIG, message, f"name it without a call: {target}")
        return _captured(live, target, adopt(value, live.sites.by_path(value)), None)
    if not callable(value) or (isinstance(value, type) and not is_model_class(value)):
        raise LoadError(
            ErrorKind.CONFIG,
            f"{name} is a {type(value).__name__ if not isinstance(value, type) else 'class'}, no model",
            "name an nn.Module class, a function that returns one, or a module-level instance",
        )
    return _first_that_works(live, target, name, value)


def with_weights(live: Live, analysis: Analysis) -> Analysis:
    """What trained weights say of an analysed model: the job's, or those that the file has loaded into it.

    The analysis as it is where there are none, or no model to put them into.
    """
    file, built, graph = live.job.weights, analysis.built, analysis.captured.graph
    checkpoint = None if file is None else partial(read, file)
    if built is not None and live.job.statistics:
        result = with_statistics(analysis.captured, built.again, checkpoint)
    elif built is None or graph is None:
        return analysis
    elif checkpoint is not None:
        result = weighed(analysis.captured, analysis.example, built.again, checkpoint)
    elif built.model in live.loaded and any(one.seasoned for one in statistics(built.model, graph).values()):
        mark = live.loaded[built.model]
        result = weighed(analysis.captured, analysis.example, built.again, recalibrated=mark).unasked
    else:
        return analysis
    error = None if result.error is None else result.error.report(analysis.captured.target)
    return replace(analysis, captured=result.captured, error=error)


def _first_that_works(live: Live, target: str, name: str, make: Callable[..., Any]) -> Analysis:
    others = [one for one in live.classes if one is not make]
    started, captures = time.monotonic(), 0
    first: Analysis | None = None
    try:
        for _, arguments in zip(range(MOST_BUILDS), argument_sets(make, live.job.call, others), strict=False):
            result = with_arguments(live, target, name, make, arguments)
            if result.error is None or not arguments.assumed or lacking(result.error.message):
                return result
            captures += result.built is not None
            first = result if first is None or (first.built is None and result.built is not None) else first
            if captures >= MOST_CAPTURES or time.monotonic() - started > MOST_SECONDS:
                break
    except Unknown as unknown:
        line = _line_to_write(target, unknown.call, is_literal=unknown.is_literal)
        return Analysis(CapturedModel(target, Status.SKIPPED, f"{unknown}; {line}"))
    assert first is not None
    return _skipped_guess(first, target)


def _skipped_guess(first: Analysis, target: str) -> Analysis:
    """What failed with arguments nobody gave is not the model's failure."""
    assert first.error is not None
    text = first.captured.arguments or ""
    reason = f"{first.error.message} with the guessed arguments {text}; {_line_to_write(target, text)}"
    return Analysis(CapturedModel(target, Status.SKIPPED, reason, arguments=text))


def _line_to_write(target: str, call: str, *, is_literal: bool = True) -> str:
    """What settles the arguments: a command where they can be literals."""
    symbol = target.rpartition(":")[2]
    if not is_literal or any(not_literal in call for not_literal in ("SimpleNamespace(", "nn.", "torch.")):
        return f"write a function without arguments that returns {symbol}({call}) with the right values"
    return f"write them: dropcheck lint {quoted(f'{target}({call})')}, or a function without arguments that returns it"


def quoted(text: str) -> str:
    """As one word of a shell: in single quotes, or in double ones where the text has single ones."""
    if "'" not in text:
        return f"'{text}'"
    return shlex.quote(text) if set('"$`\\!') & set(text) else f'"{text}"'


def with_arguments(live: Live, target: str, name: str, make: Callable[..., Any], arguments: Arguments) -> Analysis:
    """Builds a model with these very arguments and captures it."""
    try:
        wanted, busy = live.job.initialised, WORTH_A_GUESS if arguments.assumed else math.inf
        built = build(lambda: arguments.call(make), name, live.job.path, initialised=wanted, busy=busy)
    except LoadError as error:
        failed = CapturedModel(target, Status.FAILED, error.message, arguments=arguments.text)
        return Analysis(failed, error.report(target))
    values = _hints(arguments)
    result = _captured(live, target, built, arguments, values)
    guessed = tuple(number for name in arguments.assumed for number in _numbers(values.get(name)))
    result = replace(result, captured=replace(result.captured, guessed=guessed))
    return result if live.job.call is not None else replace(result, make=make, arguments=arguments)


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, list | tuple) else [value]
    return [float(one) for one in values if isinstance(one, int | float)]


def _hints(arguments: Arguments) -> dict[str, Any]:
    try:
        bound = arguments.bound.signature.bind(*arguments.args, **arguments.kwargs)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    return dict(bound.arguments)


def _captured(
    live: Live, target: str, built: Built, arguments: Arguments | None, hints: dict[str, Any] | None = None
) -> Analysis:
    text = None if arguments is None else arguments.text
    try:
        with (
            foreign(
                ErrorKind.CAPTURE, "its forward could not be followed", "give an input with --input", live.job.path
            ),
            limited(math.inf if live.job.symbol is not None else OF_MANY),
        ):
            result = _capture(live, built, hints or {})
    except LoadError as error:
        failed = CapturedModel(target, Status.FAILED, error.message, arguments=text, input=live.job.input)
        return Analysis(failed, error.report(target), built)
    captured = CapturedModel(
        target,
        Status.ANALYSED,
        capture=result.how,
        arguments=text,
        input=result.input,
        graph=result.graph,
        without=missing(),
    )
    return Analysis(captured, None, built, result.example)


def _capture(live: Live, built: Built, hints: dict[str, Any]) -> Capture:
    examples = Examples(built.model, live.job.input, hints)
    inputs = chain(live.examples(built.model), examples)
    try:
        return capture(built.model, inputs, twin=built.twin, built=built.sites, failed=examples.learn, memory=MEMORY)
    except CaptureError as error:
        wanted = lacking(error.message)
        if wanted:
            told = "" if NOT_INSTALLED in error.message else f", and {', '.join(map(repr, wanted))} {NOT_INSTALLED}"
            raise LoadError(ErrorKind.IMPORT, error.message + told, to_install(wanted), error.details) from error
        message = error.message if live.job.input is None else f"with --input {live.job.input} {error.message}"
        raise LoadError(ErrorKind.CAPTURE, message, error.hint, error.details) from error
