"""Measured shifts: the variance at every batch norm's input with dropout on and off, on real data.

Source: Li et al. 2019, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .data import augmented
from .training import BATCH

SEED = 5


@dataclass(slots=True)
class Moments:
    """Per-channel sums over samples and positions."""

    count: int
    first: Tensor
    second: Tensor

    @property
    def var(self) -> Tensor:
        return self.second / self.count - (self.first / self.count) ** 2


def shifts(model: nn.Module, inputs: Tensor, passes: int = 4, seed: int = SEED) -> dict[str, float]:
    """Δ of every batch norm by module path: the trained net in train mode against the same net in eval mode.

    Batches are as large as in training: norms scale by their statistics. Over images and series, 4 passes leave a
    standard error of about .25 %. Vectors have no positions to average over. ``seed`` decides augmentation and masks.
    """
    with _untouched(model):
        model.train()
        train = _variances(model, inputs, passes, seed)
    model.eval()
    return _ratios(_variances(model, inputs, passes, seed), train)


def shifts_of_one(model: nn.Module, inputs: Tensor, dropouts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Δ of every batch norm if only one dropout were there, for each of ``dropouts`` (module paths).

    Norms use batch statistics, so that all in front of the dropout is as it is in training.
    """
    with _untouched(model):
        _only(model, None)
        clean = _variances(model, inputs, passes=1)
        found = {}
        for dropout in dropouts:
            _only(model, dropout)
            found[dropout] = _ratios(clean, _variances(model, inputs, passes=1))
    return found


def _only(model: nn.Module, dropout: str | None) -> None:
    """Batch norms in train mode, everything else in eval mode but the one dropout."""
    for path, module in model.named_modules():
        module.training = isinstance(module, _BatchNorm) or path == dropout


def _ratios(test: Mapping[str, Tensor], train: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean over channels by mean over channels."""
    return {path: float(test[path].mean() / train[path].mean()) for path in test}


@torch.no_grad()
def _variances(model: nn.Module, inputs: Tensor, passes: int, seed: int = SEED) -> dict[str, Tensor]:
    """Variance (channels,) at the input of every batch norm; the same samples whenever it is called."""
    moments: dict[str, Moments] = {}
    with _watched(model, moments), torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(passes):
            shuffled = augmented(inputs)[torch.randperm(len(inputs))]
            for batch in torch.split(shuffled, BATCH):
                if len(batch) > BATCH // 2:
                    model(batch)
    return {path: moment.var for path, moment in moments.items()}


@contextmanager
def _watched(model: nn.Module, moments: dict[str, Moments]) -> Iterator[None]:
    def watch(path: str) -> torch.utils.hooks.RemovableHandle:
        def add(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            values = arguments[0].double().transpose(0, 1).flatten(1)
            first, second = values.sum(1), values.square().sum(1)
            if path not in moments:
                moments[path] = Moments(0, torch.zeros_like(first), torch.zeros_like(second))
            moment = moments[path]
            moment.count, moment.first, moment.second = (
                moment.count + values.shape[1],
                moment.first + first,
                moment.second + second,
            )

        return norms[path].register_forward_pre_hook(add)

    norms = {path: module for path, module in model.named_modules() if isinstance(module, _BatchNorm)}
    handles = [watch(path) for path in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Running statistics and training flags as they were, whatever ran meanwhile."""
    flags = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
