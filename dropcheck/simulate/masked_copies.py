"""The masked-copies run: Δ at every norm of a trained network, from its weights and running statistics alone.

A small synthetic batch is pushed through the real network as several copies with different dropout masks and one
copy without. At every norm that remembers, the copies are calibrated to its running statistics: what the dropped
copies look like is known there, and Δ = Var_clean / running_var is read off the clean copy, which was transformed
along with them. All of it is our own, but for the equations cited where they are used.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import nn

from dropcheck.capture import ExampleInput
from dropcheck.graph import Graph
from dropcheck.shift import Evidence, NormShift, Shifts, Source
from dropcheck.simulate.called import as_asked
from dropcheck.simulate.copies import Copies
from dropcheck.simulate.failure import PredictionError, PredictionFault, is_fault
from dropcheck.simulate.match import matched
from dropcheck.simulate.norms import Measured
from dropcheck.simulate.run import MaskedRun
from dropcheck.simulate.survey import Survey, survey
from dropcheck.simulate.synthetic import Maker, mixed
from dropcheck.simulate.untouched import flags_of_training, set_flags, untouched
from dropcheck.simulate.where import Whereabouts

WORK = 2e10
"""Multiply-adds a prediction may take, but for what mixing adds: up to two seconds of one core."""

_EFFORTS = ((30, 12), (12, 8), (8, 6), (5, 5), (3, 4))
"""Matching steps and masks, to be had for WORK if that leaves enough samples."""

_LEAST = (1, 4)
"""Where it does not: of few samples, more are worth more than matching them, in two thirds of WORK."""

_MIXED, _STEPS_MIXED, _MASKS_MIXED = 128, 3, 6
"""Where samples are matched well but are fewer than two training batches: so many are made of them, with fewer masks,
if that takes no more than 0.8 of WORK on top. Then batches differ as they do in training."""

_READING = 25
"""Multiply-adds in whose time one weight is fetched from memory: what counts where samples are few."""

_CALLING = 5e5
"""Multiply-adds in whose time one function is called, whatever it does."""


def predict_from_weights(model: nn.Module, graph: Graph, example: ExampleInput) -> Shifts:
    """Δ at every norm of ``graph`` that remembers, with evidence ``weights``.

    Args:
        model: with trained weights, on the CPU; run several times, and left as it was found.
        graph: what capture made of it.
        example: an input its forward accepts, for shapes, dtypes and all that is not the main input.

    Δ of a norm is None where no channel's statistics are usable, or where axis 0 of its input is not the batch.
    ``per_channel`` is None at channels whose statistics are not numbers or zero.

    Raises:
        PredictionError: the model cannot be run on synthetic input.
        PredictionFault: dropcheck itself failed while the model ran.
    """
    try:
        with untouched(model), torch.no_grad():
            found = _run(model, graph, Maker(example))
    except PredictionError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if is_fault(error, as_asked.__code__):
            raise PredictionFault(told) from error
        raise PredictionError(f"forward on synthetic input raised {told}") from error
    names = {node.name for node in graph}
    norms = {node.name: _shift(node.name, names, found.get(node.name)) for node in graph if node.remembers}
    return Shifts(Evidence.WEIGHTS, norms)


def _run(model: nn.Module, graph: Graph, maker: Maker) -> dict[str, Measured]:
    flags = flags_of_training(model)
    where = Whereabouts(model)
    set_flags(dict.fromkeys(flags, False))
    weights = sum(parameter.numel() for parameter in model.parameters())
    known = survey(model, maker, where, dear=WORK / 100)
    set_flags(flags)
    effort = _effort(known, weights)
    judged = {node.name for node in graph if node.remembers} - known.misplaced
    drawn = maker.batch(effort.batch, known.shape, known.features_last is True)
    given = matched(model, drawn, effort.steps, where, judged)
    if effort.mixed:
        more = maker.batch(effort.mixed, known.shape, known.features_last is True)
        given = matched(model, mixed(given, more), _STEPS_MIXED, where, judged)
    run = MaskedRun(model, where, Copies(effort.masks, given.batch), known.always_on, judged)
    args, kwargs = given.arguments(effort.masks + 1)
    with run.running():
        model(*args, **kwargs)
    return run.found


@dataclass(frozen=True, slots=True)
class _Effort:
    """Samples, gradient steps that match them (a forward and a backward each), and masked copies of each sample.

    ``mixed``: more samples, made of those, that take their place; 0 where there are enough.
    """

    batch: int
    steps: int
    masks: int
    mixed: int = 0


def _effort(known: Survey, weights: int) -> _Effort:
    """What fits into WORK for a model of so many ``weights``: steps and masks are spared before samples run out."""

    def samples(steps: int, masks: int, work: float) -> int:
        each_pass = work / (masks + 1 + 3 * steps) - _READING * weights - _CALLING * known.calls
        return int(each_pass / max(1.0, known.cost))

    # Without positions each sample gives each channel one value only.
    fewest, enough, most = (8, 32, 512 if known.cost < 1e6 else 128) if known.convolves else (32, 512, 2048)
    # Vectors that are matched for long lose what makes units sparse: with more steps the errors of MLPs grew.
    for steps, masks in _EFFORTS if known.convolves else _EFFORTS[1:]:
        batch = samples(steps, masks, WORK)
        if batch >= enough:
            dear = samples(_STEPS_MIXED, _MASKS_MIXED, 0.8 * WORK) < _MIXED
            if known.convolves and steps >= _EFFORTS[1][0] and batch < _MIXED and not dear:
                return _Effort(batch, steps, _MASKS_MIXED, _MIXED)
            return _Effort(min(most, batch), steps, masks)
    return _Effort(min(enough, max(fewest, samples(*_LEAST, WORK * 2.0 / 3.0))), *_LEAST)


def _shift(norm: str, names: Set[str], found: Measured | None) -> NormShift:
    """``names``: of the graph's nodes."""
    if found is None or found.delta is None:
        return NormShift(norm, None)
    known = {name: share for name, share in (found.shares or {}).items() if name in names and share > 0.0}
    total = sum(known.values())
    sources = [Source(name, share / total, found.delta ** (share / total)) for name, share in known.items()]
    sources.sort(key=lambda source: round(source.share, 9), reverse=True)
    return NormShift(norm, found.delta, tuple(sources), per_channel=found.per_channel)
