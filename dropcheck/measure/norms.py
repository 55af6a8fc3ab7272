"""The batch norms of a model: which there are, what they have stored, and how they work while shifts are measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from dropcheck.table import MeasurementError


@dataclass(frozen=True, slots=True)
class Norm:
    """One batch norm.

    Attributes:
        name: module path; of one that has several, the first.
        frozen: whether it uses its running statistics in training too.
        mean, var: the running statistics ``(channels,)`` in float64 on the CPU, as they were; None if it keeps none.
    """

    name: str
    module: _BatchNorm
    frozen: bool
    mean: Tensor | None
    var: Tensor | None

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    @property
    def tracks(self) -> bool:
        return self.mean is not None and self.var is not None

    @property
    def untrained(self) -> bool:
        """Whether its statistics are what a new norm starts with."""
        return self.mean is not None and self.var is not None and bool((self.mean == 0).all() and (self.var == 1).all())


def norms_of(model: nn.Module, training: Mapping[nn.Module, bool]) -> tuple[Norm, ...]:
    """The batch norms of ``model``; ``training`` says for each module whether it is in training mode while it trains.

    Raises:
        MeasurementError: there is none.
    """
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        mean, var = _stored(module.running_mean), _stored(module.running_var)
        found.append(Norm(name, module, not training[module], mean, var))
    if not found:
        raise MeasurementError(
            f"{type(model).__name__} has no batch norm, so dropout cannot shift one",
            "there is nothing to measure; norms of other kinds store nothing of training",
        )
    return tuple(found)


def _stored(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else buffer.detach().cpu().double()


def left_out(model: nn.Module) -> Iterator[str]:
    """Names what keeps statistics of training but is no batch norm."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, _BatchNorm) or module._buffers.get("running_var") is None:
            continue
        if isinstance(module, _NormBase):
            yield f"{kind} {name!r} keeps statistics of single samples and is not measured"
        elif not kind.startswith("Frozen"):
            yield f"{kind} {name!r} normalises by running statistics of its own and is not measured"


@contextmanager
def counting_nothing(norms: Sequence[Norm]) -> Iterator[None]:
    """Inside, norms in training mode use the statistics of their batch and store nothing of them.

    Synchronised ones use those of this process's own batch: processes need not be at the same batch.
    """
    tracking = [norm.module for norm in norms if norm.module.track_running_stats]
    synchronised = [norm.module for norm in norms if isinstance(norm.module, nn.SyncBatchNorm)]
    synchronised = [module for module in synchronised if "forward" not in vars(module)]
    try:
        for module in tracking:
            module.track_running_stats = False
        for module in synchronised:
            vars(module)["forward"] = partial(_BatchNorm.forward, module)
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
        for module in synchronised:
            vars(module).pop("forward", None)


@contextmanager
def using(statistics: Mapping[_BatchNorm, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Inside, norms have other running statistics: a mean and a variance ``(channels,)`` each."""
    own = {module: (module.running_mean, module.running_var) for module in statistics}
    try:
        for module, (mean, var) in statistics.items():
            buffers = module._buffers
            buffers["running_mean"], buffers["running_var"] = _like(mean, own[module][0]), _like(var, own[module][1])
        yield
    finally:
        for module, (old_mean, old_var) in own.items():
            module._buffers["running_mean"], module._buffers["running_var"] = old_mean, old_var


def _like(values: Tensor, buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return values.to(dtype=buffer.dtype).to(buffer.device)
