"""Tensors for example inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from dropcheck.source import InputSpec


def tensor(spec: InputSpec, limit: int = 10) -> Tensor:
    """A tensor of small values: normal floats, integers from 0 to ``limit`` - 1, True."""
    dtype = getattr(torch, spec.dtype)
    if dtype is torch.bool:
        return torch.ones(spec.shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(spec.shape, generator=generator).to(dtype)
    return torch.randint(0, max(1, limit), spec.shape, generator=generator).to(dtype)


def spec_of(value: Tensor) -> InputSpec:
    """The input spec that a tensor is an example of."""
    return InputSpec(tuple(value.shape), str(value.dtype).removeprefix("torch."))
