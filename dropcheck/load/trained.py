"""What trained weights say of the norms of a captured model."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from dropcheck.capture import ExampleInput
from dropcheck.graph import Graph
from dropcheck.job import CapturedModel
from dropcheck.load.checkpoint import Checkpoint, Recalibrated
from dropcheck.load.failure import LoadError, foreign
from dropcheck.load.statistics import Statistics, left_out, listed, statistics
from dropcheck.load.weights import fit
from dropcheck.ops import Constant
from dropcheck.result import ErrorKind, Status
from dropcheck.shift import Evidence, NormShift, Shifts, predict
from dropcheck.simulate.failure import PredictionError, PredictionFault
from dropcheck.simulate.masked_copies import predict_from_weights
from dropcheck.simulate.stats import layer_statistics, unread

_FROM_CODE = "predicted from the code alone"
_INPUT = "give an input its forward accepts, as in --input 2x3x32x32"
_FAULT = "this is a fault of dropcheck, please report it with the output of --verbose"


@dataclass(frozen=True, slots=True)
class Weighed:
    """A captured model with what its weights say, and why they could not be used if they could not."""

    captured: CapturedModel
    error: LoadError | None = None

    @property
    def unasked(self) -> Weighed:
        """For a model whose weights nobody asked for: only a fault of dropcheck's own is an error then."""
        expected = self.error is not None and self.error.kind is not ErrorKind.INTERNAL
        return replace(self, error=None) if expected else self


@dataclass(frozen=True, slots=True)
class _Given:
    """What is told of weights: how remarks call them, and the mark that recalibration left on them."""

    name: str
    recalibrated: Recalibrated | None

    @property
    def remark(self) -> str | None:
        if self.recalibrated is None:
            return None
        what = "running variances" if self.recalibrated == "var" else "running statistics"
        told = f"its {what} were estimated with dropout off, and evaluation sees no shift"
        return f"{self.name} is marked as recalibrated: {told}"


def weighed(
    captured: CapturedModel,
    example: ExampleInput | None,
    again: Callable[[], nn.Module],
    checkpoint: Callable[[], Checkpoint] | None = None,
    recalibrated: Recalibrated | None = None,
) -> Weighed:
    """Adds to an analysed model what trained weights say of it.

    Args:
        captured: has a graph.
        example: the input it was captured on.
        again: makes the model anew, on the CPU; what it makes is loaded, run and changed.
        checkpoint: reads the weights to load; None for those ``again`` brings along.
        recalibrated: the mark on the weights that ``again`` brings along.

    Weights that do not fit make the model a failed one. If it cannot be run, the prediction from the code alone stays.
    """
    assert captured.graph is not None
    try:
        model, read, source = _loaded(captured, again, checkpoint)
    except LoadError as error:
        return _unusable(captured, error)
    layers = layer_statistics(model, captured.graph)
    given = _Given("the model", recalibrated) if read is None else _Given(read.name, read.recalibrated)
    return _judged(replace(captured, weights=source, layers=layers), captured.graph, example, model, given)


def with_statistics(
    captured: CapturedModel, again: Callable[[], nn.Module], checkpoint: Callable[[], Checkpoint] | None
) -> Weighed:
    """A model with the statistics of its weight layers and nothing else: it need not be one that can be captured.

    ``again`` and ``checkpoint`` as for :func:`weighed`.
    """
    try:
        model, _, source = _loaded(captured, again, checkpoint)
    except LoadError as error:
        return _unusable(captured, error)
    layers, missed = layer_statistics(model, captured.graph), unread(model, captured.graph)
    remark = f"no weights were found for {listed(missed)}" if missed else None
    told = CapturedModel(captured.target, Status.ANALYSED, arguments=captured.arguments, remark=remark)
    return Weighed(replace(told, weights=source, layers=layers))


def _loaded(
    captured: CapturedModel, again: Callable[[], nn.Module], checkpoint: Callable[[], Checkpoint] | None
) -> tuple[nn.Module, Checkpoint | None, str | None]:
    """The model with its weights, and which file they come from and how it was read. Raises LoadError."""
    symbol = captured.target.rpartition(":")[2]
    read = None if checkpoint is None else checkpoint()
    with foreign(ErrorKind.CONSTRUCT, f"constructing {symbol} failed", "give arguments its constructor accepts"):
        model = again()
    built = f"{symbol}({captured.arguments})" if captured.arguments else symbol
    return model, read, None if read is None else fit(model, read, built)


def _unusable(captured: CapturedModel, error: LoadError) -> Weighed:
    return Weighed(CapturedModel(captured.target, Status.FAILED, error.message, arguments=captured.arguments), error)


def _judged(
    captured: CapturedModel, graph: Graph, example: ExampleInput | None, model: nn.Module, given: _Given
) -> Weighed:
    """What the weights in ``model`` say."""
    known = statistics(model, graph)
    if known and all(one.untrained for one in known.values()):
        remark = (
            f"{given.name} holds the batch norm statistics of an untrained network (means 0, variances 1): {_FROM_CODE}"
        )
        return Weighed(replace(captured, remark=remark))
    try:
        predicted = _shifts(model, graph, example, known) if given.recalibrated is None else _settled(graph, known)
    except LoadError as error:
        return Weighed(replace(captured, remark=f"{error.message}: {_FROM_CODE}"), error)
    shifts = replace(predicted, norms={key: _sound(shift, known.get(key)) for key, shift in predicted.norms.items()})
    remarks = (given.remark, left_out(model, graph, known, shifts, predicted))
    return Weighed(replace(captured, shifts=shifts, remark="; ".join(filter(None, remarks)) or None))


def _settled(graph: Graph, known: Mapping[str, Statistics]) -> Shifts:
    """Δ where the stored variances are those of the network without dropout: 1, at norms that are known."""
    norms = (node.name for node in graph if node.remembers)
    shifts = (NormShift(name, 1.0 if name in known else None, per_channel=_ones(known.get(name))) for name in norms)
    return Shifts(Evidence.WEIGHTS, {shift.norm: shift for shift in shifts})


def _shifts(model: nn.Module, graph: Graph, example: ExampleInput | None, known: Mapping[str, Statistics]) -> Shifts:
    quiet = predict(graph)
    if _is_noiseless(graph, quiet):
        norms = {key: replace(one, per_channel=_ones(known.get(key))) for key, one in quiet.norms.items()}
        return Shifts(Evidence.WEIGHTS, norms)
    if example is None:
        raise LoadError(ErrorKind.CAPTURE, "no input is known to run it on with its weights", _INPUT)
    try:
        return predict_from_weights(model, graph, example)
    except PredictionError as error:
        raise LoadError(ErrorKind.CAPTURE, f"its weights say nothing: {error}", _INPUT, _trace(error)) from error
    except PredictionFault as fault:
        message = f"dropcheck failed to predict from its weights: {fault}"
        raise LoadError(ErrorKind.INTERNAL, message, _FAULT, _trace(fault)) from fault


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _is_noiseless(graph: Graph, quiet: Shifts) -> bool:
    """Whether no norm can meet noise: then weights make no difference."""
    drawn = any(isinstance(node.op, Constant) and node.op.random for node in graph)
    return not drawn and not any(shift.sources or shift.unknown for shift in quiet.norms.values())


def _ones(one: Statistics | None) -> tuple[float | None, ...]:
    return () if one is None else tuple(1.0 if usable else None for usable in one.usable.tolist())


def _sound(shift: NormShift, one: Statistics | None) -> NormShift:
    """The shift, without Δ where it rests on statistics of no training, or on weights that are no numbers."""
    numbers = (shift.delta, *shift.per_channel, *(number for one in shift.sources for number in (one.share, one.delta)))
    finite = all(number is None or math.isfinite(number) for number in numbers)
    untrained = one is not None and one.untrained
    return shift if finite and not untrained else NormShift(shift.norm, None, (), shift.unknown)
