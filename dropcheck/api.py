"""What Python programs and notebooks call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dropcheck.config import Settings
from dropcheck.result import Report
from dropcheck.rule import Thresholds
from dropcheck.source import UsageError

if TYPE_CHECKING:
    from torch import nn


def lint(
    model_or_target: nn.Module | str | os.PathLike[str],
    example_input: Any = None,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    weights: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    thresholds: Thresholds | None = None,
    timeout: float = 60.0,
) -> Report:
    """Finds what harms in a model, or in what ``dropcheck lint`` accepts: a path, ``nets.py:Net(depth=20)`` …

    A live model is captured in this process, on copies: its weights, buffers, training flags and hooks and all random
    states stay as they are. A path or target is analysed in a process of its own, as on the command line; no
    configuration file is read.

    Of a live model whose batch norms have seen data the weights count (evidence ``weights``), as those given do.

    Args:
        model_or_target: the model, or the path or target.
        example_input: for a model: a tensor, or a tuple of positional arguments for its forward; default: inferred.
        example_kwargs: for a model: keyword arguments for its forward.
        weights: trained weights to judge the model by, in place of its own: the file of a state dict, or a state dict;
            with a path, one that defines a single model.
        select: prefixes of the rule codes to run, default all.
        ignore: prefixes of the rule codes to leave out.
        thresholds: shift ratios that make an error or a warning.
        timeout: seconds for a path or target, > 0.

    What cannot be analysed is in the report's ``errors``.

    Raises:
        ValueError: a prefix names no rule, or weights come with a directory.
        TypeError: ``model_or_target`` or ``weights`` is neither, or an example input comes with a path or target.
    """
    if weights is not None and not isinstance(weights, str | os.PathLike | Mapping):
        raise TypeError(f"weights are a file or a state dict, got {type(weights).__name__}")
    settings = Settings(
        _codes(select),
        _codes(ignore),
        timeout=timeout,
        thresholds=thresholds or Thresholds(),
        narrowed=select is not None or ignore is not None,
    )
    try:
        if not isinstance(model_or_target, str | os.PathLike):
            return _lint_live(model_or_target, example_input, example_kwargs, weights, settings)
        if example_input is not None or example_kwargs is not None:
            raise TypeError("an example input goes with a live model, not with a path or target")
        from dropcheck.run import lint_targets

        with _as_file(weights) as file:
            return lint_targets([os.fspath(model_or_target)], settings, weights=file)
    except UsageError as error:
        raise ValueError(str(error)) from error


@contextmanager
def _as_file(weights: str | os.PathLike[str] | Mapping[str, Any] | None) -> Iterator[str | None]:
    """A state dict as a file that lasts as long as this is open, for another process to read."""
    if not isinstance(weights, Mapping):
        yield None if weights is None else os.fspath(weights)
        return
    import torch

    from dropcheck.load.checkpoint import plain

    with TemporaryDirectory() as directory:
        file = os.path.join(directory, "the state dict")
        torch.save(plain(weights), file)
        yield file


def _lint_live(
    model: nn.Module,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    weights: str | os.PathLike[str] | Mapping[str, Any] | None,
    settings: Settings,
) -> Report:
    from torch import nn

    from dropcheck.choice import choose, orders
    from dropcheck.engine import conclude, examine
    from dropcheck.load.live import capture_live

    started = perf_counter()
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected an nn.Module, a path or a target, got {type(model).__name__}")
    choice = choose(settings)
    outcome = capture_live(model, args, kwargs, weights)
    examined = [examine(captured, choice.rules, settings.thresholds) for captured in outcome.models]
    errors = (*choice.errors, *outcome.errors)
    seconds = perf_counter() - started
    return conclude(examined, errors, choice.rules, files=0, seconds=seconds, orders=orders(settings, choice))


def _codes(prefixes: Iterable[str] | None) -> tuple[str, ...]:
    if prefixes is None:
        return ()
    return tuple(prefixes.split(",")) if isinstance(prefixes, str) else tuple(prefixes)
