"""Small networks and data for the tests of measuring, and measuring by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

IMAGE = (3, 8, 8)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are small: on a busy machine several threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before."""
    torch.manual_seed(0)


def stack(rate: float = 0.4) -> nn.Sequential:
    """conv → bn → relu → dropout → max-pool → conv → bn → relu → dropout → bn, with statistics of some training."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(rate), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(rate), nn.BatchNorm2d(6)),
    )
    return trained(net, images(40))


def trained(net: Any, batches: Sequence[Any]) -> Any:
    """Running statistics as training leaves them; weights stay."""
    net.train()
    with torch.no_grad():
        for batch in batches:
            net(batch)
    return net


def images(count: int, size: int = 16, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, *IMAGE, generator=generator) + 0.5 for _ in range(count)]


@contextmanager
def inputs_of(net: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Everything that arrives at every batch norm, ``(channels, values)`` in float64, by module path."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen.setdefault(name, []).append(args[0].detach().double().transpose(0, 1).flatten(1))

        return hook

    norms = [(name, module) for name, module in net.named_modules() if isinstance(module, _BatchNorm)]
    handles = [module.register_forward_pre_hook(keep(name)) for name, module in norms]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def variances(seen: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """Unbiased and over all that arrived, ``(channels,)``."""
    return {name: torch.cat(parts, 1).var(1) for name, parts in seen.items()}
