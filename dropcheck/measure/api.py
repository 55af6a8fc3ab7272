"""What Python programs and notebooks call to measure shifts, and to recalibrate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dropcheck.capture import ExampleInput
from dropcheck.capture.replica import random_state_kept, replica
from dropcheck.load.data import Synthetic
from dropcheck.load.failure import LoadError
from dropcheck.load.inputs import example_inputs
from dropcheck.load.live import capture_live
from dropcheck.load.settle import settled_on
from dropcheck.measure.batches import Arguments
from dropcheck.measure.bench import chosen_device, unwrapped
from dropcheck.measure.probing import Probing
from dropcheck.measure.recalibrating import Recalibrating, Stat
from dropcheck.shift import predict
from dropcheck.table import SYNTHETIC, MeasurementError, Progress, ShiftTable, joined

GIVEN = "given data"
_NOISE = 24  # batches of synthetic noise, unless the caller says how many


def probe(
    model: nn.Module,
    batches: Iterable[Any] | Tensor | None = None,
    *,
    example_input: Any = None,
    max_batches: int | None = None,
    device: str | torch.device | None = None,
    amp: bool = False,
    seed: int = 0,
    attribute: bool = False,
    predicted: bool = True,
    progress: Callable[[Progress], object] | None = None,
) -> ShiftTable:
    """Measures the variance shift at every batch norm of a model, and puts the prediction beside it.

    Every batch runs once as the model is evaluated (dropout off, running statistics in use) and once as it is trained
    (dropout on, batch statistics in use, nothing updated). Δ = Var_test / Var_train compares the two; the shift ratio
    compares the former with the running variance (Li et al. 2019, section 4).

    The model is left exactly as it was, also by an exception: weights, buffers, training flags, hooks and the states
    of the random number generators. Hooks that are on it run.

    Args:
        model: in either mode. One in evaluation mode is taken to train as ``model.train()`` leaves it; of one in
            training mode, what it holds in evaluation mode (frozen norms) stays so.
        batches: what a DataLoader yields: tensors, tuples or lists with the inputs first, dicts with the names of
            forward's parameters; labels are left out. A tensor is one batch. None for synthetic smooth noise.
            Samples should be changed (augmented) each on its own, and batches be as large as in training.
        example_input: without batches: a tensor or a tuple of arguments that the noise is to be like.
        max_batches: to run at most.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``; None for the model's own. On another one a copy is run.
        amp: whether forwards run under autocast.
        seed: of dropout masks and of what the data draw meanwhile; the same seed gives the same table.
        attribute: whether to measure too what each dropout contributes, by switching it off: two more forwards per
            batch and dropout.
        predicted: whether to predict Δ as ``lint`` does, for comparison.
        progress: called after every batch.

    With a torch.distributed process group, every process has to call it: batches are dealt out by rank (those of a
    DistributedSampler are so already), and all get the table of all batches.

    Raises:
        MeasurementError: the model has no batch norm, the data do not fit it, or there is no such device.
    """
    model = unwrapped(model)
    data = _noise(model, example_input, seed) if batches is None else _data(batches)
    label = SYNTHETIC if batches is None else GIVEN
    limit = _NOISE if batches is None and max_batches is None else max_batches
    measured, notes = _settled(model, data, limit) if isinstance(data, Synthetic) else (model, ())
    device = chosen_device(model, None) if device is None else device
    probing = Probing(measured, device=device, amp=amp, seed=seed, attribute=attribute, data=label)
    run(probing.steps(data, limit), progress)
    table = probing.table()
    table = replace(table, notes=(*table.notes, *notes))
    return with_prediction(table, model, probing.feeder.example) if predicted else table


def recalibrate(
    model: nn.Module,
    batches: Iterable[Any] | Tensor,
    *,
    stat: Stat = "both",
    max_batches: int | None = None,
    device: str | torch.device | None = None,
    amp: bool = False,
    seed: int = 0,
    progress: Callable[[Progress], object] | None = None,
) -> ShiftTable:
    """Estimates the running statistics of a model's batch norms again, with dropout off, and writes them to it.

    Dropout raises variances in training only, and running statistics remember training. New ones are the mean and the
    unbiased variance over all batches of what a network without dropout sees there, its norms using the statistics of
    each batch. Source: Hendrycks and Gimpel 2016, section 3; Li et al. 2019, section 4, Table 3.

    ``torch.optim.swa_utils.update_bn`` does not do this: it puts the whole model into training mode, so that dropout
    stays on and the statistics are again those of training.

    Running means and variances of the given model are changed in place; nothing else of it is: not
    ``num_batches_tracked``, not momentum, not training flags. If anything raises, nothing is changed. Norms that keep
    no statistics, and those frozen in a model in training mode, stay as they are.

    Args:
        model, max_batches, device, amp, seed, progress: as for :func:`probe`.
        batches: as for :func:`probe`; of training data, augmented as in training (Li et al. 2019, section 4). What
            can be run over twice, such as a DataLoader or a list, is: the second time tells what remains.
        stat: ``both``, or ``var`` for the variances alone.

    The table holds for every norm ``delta_before`` and ``delta_after``, Var_test over running variance.

    Raises:
        MeasurementError: there is nothing to recalibrate, the data do not fit the model, or there is no such device.
    """
    model = unwrapped(model)
    recalibrating = Recalibrating(model, stat=stat, device=device, amp=amp, seed=seed, data=GIVEN)
    run(recalibrating.steps(_data(batches), max_batches), progress)
    table = recalibrating.table()
    recalibrating.commit()
    return table


def with_prediction(table: ShiftTable, model: nn.Module, example: Arguments | None) -> ShiftTable:
    """The table with what ``lint`` predicts for a live model; a note says why where it predicts nothing."""
    if example is None:
        return table
    (captured,) = capture_live(model, example.args, example.kwargs).models
    if captured.graph is None:
        return replace(table, notes=(*table.notes, f"no shift is predicted: {captured.reason}"))
    return joined(table, captured.graph, captured.shifts or predict(captured.graph))


def run(steps: Generator[Progress, None, None], progress: Callable[[Progress], object] | None) -> None:
    """Runs all steps. The model is as it was afterwards, also if ``progress`` raises."""
    with closing(steps) as running:
        for step in running:
            if progress is not None:
                progress(step)


def _data(batches: Iterable[Any] | Tensor) -> Iterable[Any]:
    if isinstance(batches, Tensor | Mapping):
        return [batches]
    if not isinstance(batches, Iterable):
        raise TypeError(f"batches are an iterable of tensors, tuples or dicts, got {type(batches).__name__}")
    return batches


def _settled(model: nn.Module, noise: Synthetic, limit: int | None) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy with the running statistics that training on the noise would leave, and what is to be said of that.

    Raises:
        MeasurementError: it cannot be copied, or its forward fails.
    """
    try:
        copy = replica(model, "cpu")
        with random_state_kept():
            return copy, settled_on(copy, noise, limit)
    except LoadError as error:
        raise MeasurementError(error.message, error.hint) from error


def _noise(model: nn.Module, example: Any, seed: int) -> Synthetic:
    """Smooth noise like the example, or like the first inferred input that a copy of the model accepts.

    Raises:
        MeasurementError: it accepts none.
    """
    examples: Iterable[ExampleInput]
    if example is None:
        examples = example_inputs(model, None, {})
    else:
        examples = [ExampleInput(example if isinstance(example, tuple) else (example,), given=True)]
    reasons = []
    for one in examples:
        try:
            copy = replica(model, "cpu").eval()
            with random_state_kept(), torch.no_grad():
                copy(*one.args, **one.kwargs)
            return Synthetic(one, seed=seed)
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next input may suit it
            reasons.append(f"{type(error).__name__}: {error}".partition("\n")[0])
    reason = reasons[0] if reasons else "no input is known"
    raise MeasurementError(f"no synthetic input suits the model: {reason}", "give data, or an example input")
