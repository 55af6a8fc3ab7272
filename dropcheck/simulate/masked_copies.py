"""The masked-copies run: Δ at every norm of a trained network, from its weights and running statistics alone.

A small synthetic batch is pushed through the real network as several copies with different dropout masks and one
copy without. At every norm that remembers, the copies are calibrated to its running statistics: what the dropped
copies look like is known there, and Δ = Var_clean / running_var is read off the clean copy, which was transformed
along with them. All of it is our own, but for the equations cited where they are used.
"""

from __future__ import annotations

import torch
from torch import nn

from dropcheck.capture import ExampleInput
from dropcheck.graph import Graph
from dropcheck.shift import Evidence, NormShift, Shifts, Source
from dropcheck.simulate.copies import Copies
from dropcheck.simulate.failure import PredictionError
from dropcheck.simulate.match import matched
from dropcheck.simulate.norms import Measured
from dropcheck.simulate.run import MaskedRun
from dropcheck.simulate.survey import Survey, survey
from dropcheck.simulate.synthetic import Maker
from dropcheck.simulate.untouched import flags_of_training, set_flags, untouched
from dropcheck.simulate.where import Whereabouts

MASKS = 3
WORK = 2e10
"""Multiply-adds the whole prediction may take: about two seconds of one core."""


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
    """
    try:
        with untouched(model), torch.no_grad():
            found = _run(model, graph, Maker(example))
    except PredictionError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise PredictionError(f"forward on synthetic input raised {type(error).__name__}: {reason}") from error
    norms = {node.name: _shift(node.name, graph, found.get(node.name)) for node in graph if node.remembers}
    return Shifts(Evidence.WEIGHTS, norms)


def _run(model: nn.Module, graph: Graph, maker: Maker) -> dict[str, Measured]:
    flags = flags_of_training(model)
    where = Whereabouts(model)
    set_flags(dict.fromkeys(flags, False))
    known = survey(model, maker, where)
    set_flags(flags)
    batch, steps = _size(known)
    judged = {node.name for node in graph if node.remembers} - known.misplaced
    given = matched(model, maker.batch(batch, known.shape, known.features_last is True), steps, where, judged)
    run = MaskedRun(model, where, Copies(MASKS, batch), known.always_on, judged)
    args, kwargs = given.arguments(MASKS + 1)
    with run.running():
        model(*args, **kwargs)
    return run.found


def _size(known: Survey) -> tuple[int, int]:
    """Samples and matching steps that fit into WORK; a step is a forward and a backward."""
    steps = 10 if known.cost * 24 * (MASKS + 31) < WORK else 5
    few = 512 if known.cost < 1e6 else 128
    most = few if known.convolves else 2048  # without positions each sample gives each channel one value only
    return int(max(16, min(most, WORK / max(1.0, known.cost * (MASKS + 1 + 3 * steps))))), steps


def _shift(norm: str, graph: Graph, found: Measured | None) -> NormShift:
    if found is None or found.delta is None:
        return NormShift(norm, None)
    names = {node.name for node in graph}
    known = {name: share for name, share in (found.shares or {}).items() if name in names and share > 0.0}
    total = sum(known.values())
    sources = [Source(name, share / total, found.delta ** (share / total)) for name, share in known.items()]
    sources.sort(key=lambda source: round(source.share, 9), reverse=True)
    return NormShift(norm, found.delta, tuple(sources), per_channel=found.per_channel)
