"""Measuring leaves the model as it was, whatever happens, and says in one sentence what does not work."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import images, one_thread, seeded, stack, trained
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

import dropcheck
from dropcheck import MeasurementError
from dropcheck.measure.probing import Probing
from dropcheck.measure.recalibrating import Recalibrating

__all__ = ["one_thread", "seeded"]  # fixtures for all of them


def everything(model: nn.Module) -> dict[str, Any]:
    """All that measuring may change, and the states of the random number generators."""
    return {
        "values": {name: _copied(value) for name, value in model.state_dict(keep_vars=True).items()},
        "tensors": {name: id(value) for name, value in model.state_dict(keep_vars=True).items()},
        "grad": {name: (value.requires_grad, value.grad) for name, value in model.named_parameters()},
        "attributes": {
            (name, key): value if isinstance(value, bool | int | float) else id(value)
            for name, module in model.named_modules()
            for key, value in vars(module).items()
        },
        "hooks": [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        "mode": (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")),
    }


def _copied(value: Tensor) -> Tensor:
    return value if is_lazy(value) else value.detach().clone()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.is_meta or is_lazy(one) or torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class Drawing(nn.Module):
    """Draws from every generator, changes a buffer, and calls ``then`` in the middle of its third forward."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self.before, self.drop, self.norm = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.BatchNorm2d(3)
        self.frozen, self.synchronised = nn.BatchNorm2d(3).eval(), nn.SyncBatchNorm(3)
        self.register_buffer("forwards", torch.zeros(()))
        self.then, self.count = then, [0]

    def forward(self, x: Tensor) -> Tensor:
        random.random(), np.random.rand(), torch.rand(1)
        self.forwards += 1
        x = self.drop(self.before(x.mul_(2.0)))
        self.count[0] += 1
        if self.count[0] == 3:
            self.then()
        return self.synchronised(self.frozen(self.norm(x)))


class Stopped(BaseException):
    pass


def fail(error: BaseException) -> Callable[[], object]:
    def then() -> object:
        raise error

    return then


ENDS = {
    "well": (lambda: None, None),
    "an error": (fail(RuntimeError("no such luck")), MeasurementError),
    "Ctrl-C": (fail(KeyboardInterrupt()), KeyboardInterrupt),
    "something else": (fail(Stopped()), Stopped),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", ["probe", "attribute", "amp", "recalibrate"])
def test_everything_is_as_it_was(what: str, end: str, training: bool) -> None:
    then, raised = ENDS[end]
    model = Drawing(then)
    if not training:
        model.eval()
    model.norm.requires_grad_(False)
    data = images(3)
    kept, before = [batch.clone() for batch in data], everything(model)

    def run() -> object:
        if what == "recalibrate":
            return list(Recalibrating(model).steps(data))
        return dropcheck.probe(model, data, attribute=what == "attribute", amp=what == "amp", predicted=False)

    if raised is None:
        run()
    else:
        with pytest.raises(raised):
            run()
    assert same(everything(model), before)
    assert same(data, kept)


def test_a_run_that_is_given_up_leaves_nothing_behind() -> None:
    model = stack()
    before = everything(model)
    steps = Probing(model).steps(images(4))
    next(steps)
    steps.close()
    assert same(everything(model), before)


def test_a_failing_progress_leaves_nothing_behind() -> None:
    model = stack()
    before = everything(model)
    with pytest.raises(ZeroDivisionError):
        dropcheck.recalibrate(model, images(4), progress=lambda step: 1 / 0)
    assert same(everything(model), before)


# What cannot be measured ---------------------------------------------------------------------------------------------


def refusal(model: nn.Module, batches: Any, **options: Any) -> MeasurementError:
    with pytest.raises(MeasurementError) as caught:
        dropcheck.probe(model, batches, predicted=False, **options)
    assert caught.value.hint
    return caught.value


def flat() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))


def failing() -> Iterator[Tensor]:
    yield torch.randn(8, 4)
    raise OSError("the disk is gone")


BAD = {
    "no batch norm": (nn.Sequential(nn.Linear(4, 4), nn.Dropout()), [torch.ones(2, 4)], "has no batch norm"),
    "never run": (nn.Sequential(nn.LazyBatchNorm1d()), [torch.ones(2, 4)], "LazyBatchNorm1d '0' has never seen"),
    "no weights": (nn.BatchNorm1d(4, device="meta"), [torch.ones(2, 4)], "on the meta device"),
    "shape": (flat(), [torch.randn(8, 5)], r"forward\(input.*fails on a batch of 8x5 float32: RuntimeError"),
    "dtype": (flat(), [torch.ones(8, 4, dtype=torch.float64)], "fails on a batch of 8x4 float64"),
    "no input": (flat(), ["text"], "fails on a batch of no tensors"),
    "later shape": (flat(), [torch.randn(8, 4), torch.randn(8, 5)], "fails on a batch of 8x5"),
    "single samples": (flat(), [torch.randn(1, 4)] * 3, "every batch holds a single sample"),
    "no number": (flat(), [torch.full((8, 4), torch.nan)] * 2, "all 16 samples hold NaN or infinity"),
    "nothing": (flat(), [], "the data hold no batches"),
    "the data": (flat(), failing(), "the data fail after batch 0: OSError: the disk is gone"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_work_is_said_and_the_model_is_as_it_was(case: str) -> None:
    model, batches, message = BAD[case]
    before = everything(model)
    with pytest.raises(MeasurementError, match=message):
        dropcheck.probe(model, batches, predicted=False)
    assert same(everything(model), before)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "no CUDA device" in refusal(flat(), [torch.randn(8, 4)], device="cuda").message
    assert "no MPS device" in refusal(flat(), [torch.randn(8, 4)], device="mps").message
    assert "no device 'gpu'" in refusal(flat(), [torch.randn(8, 4)], device="gpu").message
    assert dropcheck.probe(flat(), [torch.randn(8, 4)], device="auto", predicted=False).device == "cpu"


def test_wrong_kinds_of_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"expected an nn\.Module, got int"):
        dropcheck.probe(3, [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="batches are an iterable"):
        dropcheck.probe(flat(), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'both' or 'var'"):
        dropcheck.recalibrate(flat(), [], stat="mean")  # type: ignore[arg-type]


def test_samples_that_hold_no_numbers_are_counted_and_left_out() -> None:
    net = trained(flat(), [torch.randn(32, 4)])
    data = [torch.randn(16, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    spoilt = [batch.clone() for batch in data]
    spoilt[0][3, 1], spoilt[2][[0, 5], 2] = torch.nan, torch.inf
    table = dropcheck.probe(net, [(batch, torch.zeros(16)) for batch in spoilt], predicted=False)
    data[0], data[2] = data[0][[*range(3), *range(4, 16)]], data[2][[*range(1, 5), *range(6, 16)]]
    assert table.samples == 77
    assert table.notes == ("3 samples held NaN or infinity and were left out",)
    (clean,) = dropcheck.probe(net, data, predicted=False)
    assert table.norms[0].real_var == pytest.approx(clean.real_var, rel=1e-12)


def test_channels_that_hold_no_numbers_are_named_and_left_out() -> None:
    net = trained(nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4)), [torch.randn(32, 4)])
    net[1].running_var[2] = torch.nan
    (norm,) = dropcheck.probe(net, [torch.randn(16, 4)] * 4, predicted=False)
    assert norm.remark == "1 of 4 channels have no finite statistics and are left out"
    assert norm.moving_var == pytest.approx(float(net[1].running_var[[0, 1, 3]].mean()))
    assert norm.moving_var_per_channel[2] is None


def test_a_last_batch_of_one_sample_is_left_out() -> None:
    table = dropcheck.probe(flat(), [torch.randn(8, 4)] * 4 + [torch.randn(1, 4)], predicted=False)
    assert table.samples == 32
    assert table.notes == ("1 batch of a single sample was left out: it has no variance",)


class Small(nn.Module):
    """Has memory for so many samples."""

    def __init__(self, samples: int, error: Callable[[str], Exception]) -> None:
        super().__init__()
        self.samples, self.error = samples, error
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        if len(x) > self.samples:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return self.norm(self.drop(x * scale))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_batches_too_large_for_memory_are_halved(error: Callable[[str], Exception]) -> None:
    x = torch.randn(50, 4)
    table = dropcheck.probe(Small(7, error), [(x, x[:, :1], torch.zeros(50))] * 4, predicted=False)
    assert (table.batches, table.samples) == (4, 200)
    assert table.notes == ("batches of 50 did not fit into memory and were run as batches of at most 6",)
    assert table.norms[0].real_var == pytest.approx(float((x * x[:, :1]).repeat(4, 1).double().var(0).mean()), rel=1e-6)


def test_memory_for_not_even_one_sample_is_refused() -> None:
    x = torch.randn(8, 4)
    assert "not even a single sample" in refusal(Small(0, torch.OutOfMemoryError), [(x, x)]).message
