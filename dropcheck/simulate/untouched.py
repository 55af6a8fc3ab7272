"""Runs a model and leaves no trace on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dropcheck.capture.replica import random_state_kept


@contextmanager
def untouched(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Inside, parameters take no gradient and random numbers start from ``seed``.

    On leaving, also by an exception, training flags, ``requires_grad``, buffers and random states are as before.
    """
    flags = {module: module.training for module in model.modules()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
    values = [None if buffer is None else buffer.detach().clone() for _, _, buffer in buffers]
    try:
        with random_state_kept():
            torch.default_generator.manual_seed(seed)
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, flag in flags.items():
            module.training = flag
        with torch.no_grad():
            for (module, name, buffer), value in zip(buffers, values, strict=True):
                module._buffers[name] = buffer
                if buffer is not None and value is not None:
                    buffer.copy_(value)


def flags_of_training(model: nn.Module) -> dict[nn.Module, bool]:
    """The flag of every submodule while the model trains; norms use what they have stored, so that they count nothing.

    A model in evaluation mode trains as ``model.train()`` leaves it; what a model in training mode holds in
    evaluation mode stays so. ``model`` is left in training mode.
    """
    if not model.training:
        model.train()
    return {module: module.training and not isinstance(module, _NormBase) for module in model.modules()}


def set_flags(flags: dict[nn.Module, bool]) -> None:
    for module, flag in flags.items():
        module.training = flag
