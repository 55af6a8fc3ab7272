"""For test suites: asserts that dropout does no harm to a model's batch norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from dropcheck.graph import Site
from dropcheck.measure.api import run, with_prediction
from dropcheck.measure.batches import Arguments
from dropcheck.measure.bench import unwrapped
from dropcheck.measure.probing import Probing
from dropcheck.rule import ratio
from dropcheck.table import MeasuredNorm, MeasurementError

DRAWS = 16
"""Forwards of the one batch, each with other dropout masks."""


def assert_no_variance_shift(
    model: nn.Module, example_input: Any, max_shift_ratio: float = 1.05, *, seed: int = 0
) -> None:
    """Fails if dropout shifts the variance at a batch norm by more than ``max_shift_ratio``.

    A trained model is measured on ``example_input``: max(Δ, 1/Δ) at every batch norm, Δ = Var_test / Var_train over
    16 draws of dropout masks, evaluation using the statistics that this very batch leaves in training. So a model
    without dropout passes whatever the input is, and noise will do for one. Norms that its forward does not reach are
    left out.

    A model whose batch norms have never seen data is judged as ``dropcheck.lint`` judges code: dropout behind
    untrained weights looks far worse than it is once they are trained.

    The model is left as it was. The same ``seed`` gives the same verdict.

    Args:
        model: in either mode.
        example_input: a batch of at least 2 samples, better 32: a tensor, a tuple of positional arguments, or a dict
            of keyword arguments for forward.
        max_shift_ratio: from 1; 1.05 is what ``lint`` warns of.
        seed: of the dropout masks.

    Raises:
        AssertionError: it names the norms, their Δ, the dropouts and where they stand.
        MeasurementError: the model has no batch norm, the input does not fit, or a norm cannot be judged.
    """
    arguments = _arguments(example_input)
    probing = Probing(model, seed=seed, attribute=True, fresh=True)
    run(probing.steps([arguments] * DRAWS), None)
    table = with_prediction(probing.table(), unwrapped(model), arguments)
    tracked = [norm for norm in probing.bench.norms if norm.tracks and not norm.frozen]
    untrained = all(norm.untrained for norm in tracked)
    rows = [row for row in (table[norm.name] for norm in tracked) if row.samples > 0]
    shifts = [(row, row.predicted if untrained else row.delta) for row in rows]
    unknown = [row.name for row, delta in shifts if delta is None]
    if unknown:
        raise MeasurementError(
            f"the shift at {', '.join(map(repr, unknown))} is not known",
            "; ".join(table.notes) or "dropcheck.probe tells more",
        )
    bad = [_told(row, delta) for row, delta in shifts if delta is not None and ratio(delta) > max_shift_ratio]
    if bad:
        how = "predicted, since it is untrained" if untrained else f"measured on {arguments.shown()}"
        raise AssertionError(
            f"dropout shifts {len(bad)} of {len(rows)} batch norms of {type(model).__name__} by more than "
            f"{max_shift_ratio:g} ({how}):\n" + "\n".join(bad)
        )


def _arguments(example_input: Any) -> Arguments:
    if isinstance(example_input, Mapping):
        return Arguments((), example_input)
    return Arguments(example_input if isinstance(example_input, tuple) else (example_input,), {})


def _told(norm: MeasuredNorm, delta: float) -> str:
    dropouts = ", ".join(f"{one.dropout!r}{_at(one.site)} {one.share:.0%}" for one in norm.sources)
    return f"  {norm.name!r}{_at(norm.site)}: Δ = {delta:.3f}" + (f", from {dropouts}" if dropouts else "")


def _at(site: Site | None) -> str:
    return "" if site is None else f" ({site.path}:{site.line})"
