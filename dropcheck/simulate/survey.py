"""A look at the model in evaluation mode: what it costs, what stays random there, and where axis 0 is the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dropcheck import ops
from dropcheck.capture.tensors import tensors_in
from dropcheck.simulate.called import Called
from dropcheck.simulate.inner import without_dropout
from dropcheck.simulate.synthetic import Maker, Synthetic
from dropcheck.simulate.where import Whereabouts

_SAMPLES = 2
_HALVES = 2


@dataclass
class Survey:
    """What one run in evaluation mode tells.

    Attributes:
        shape: of one sample of the main input, as small as the model accepts.
        cost: multiply-adds of one sample's forward.
        calls: functions that one forward calls.
        always_on: nodes that are random in evaluation too: no shift comes from them.
        misplaced: norms whose input does not have the batch along axis 0.
        features_last: whether the main input is a sequence of vectors: the first weight layer sums over its last axis.
        convolves: whether there is any convolution.
    """

    shape: tuple[int, ...]
    cost: float = 0.0
    calls: int = 0
    always_on: set[str] = field(default_factory=set)
    misplaced: set[str] = field(default_factory=set)
    features_last: bool | None = None
    convolves: bool = False


def survey(model: nn.Module, maker: Maker, where: Whereabouts, dear: float) -> Survey:
    """Runs ``model``, which is in evaluation mode, on small input; on half of that if a sample costs above ``dear``.

    Raises what its forward raises on the example's full size.
    """
    found = _first(model, maker, where)
    places = found.shape[1:]
    if found.cost <= dear or len(places) < 2:
        return found
    half = (*found.shape[:1], *(-(-n // 2) for n in places))
    try:
        return _surveyed(model, maker.batch(_SAMPLES, half), half, where)
    except Exception:  # noqa: BLE001 - too small for it
        return found


def _first(model: nn.Module, maker: Maker, where: Whereabouts) -> Survey:
    small, *full = maker.shapes()
    try:
        return _surveyed(model, maker.batch(_SAMPLES, small), small, where)
    except Exception:
        if not full:
            raise
    return _surveyed(model, maker.batch(_SAMPLES, full[0]), full[0], where)


def _surveyed(model: nn.Module, given: Synthetic, shape: tuple[int, ...], where: Whereabouts) -> Survey:
    found = Survey(shape)
    args, kwargs = given.arguments(_HALVES)
    with where.watching(), _Probe(found, where):
        model(*args, **kwargs)
    found.cost /= _SAMPLES * _HALVES
    return found


class _Probe(TorchFunctionMode):
    """Runs on the same batch twice; nothing is dropped, so that both halves of whatever keeps the batch are equal."""

    def __init__(self, survey: Survey, where: Whereabouts) -> None:
        super().__init__()
        self.survey = survey
        self.where = where

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Called(func, args, kwargs or {}, self.where.node(func, args))
        if call.kind in ("batch_norm", "instance_norm") and not _halves_agree(args[0]):
            self.survey.misplaced.add(call.node)
        if isinstance(call.op, ops.Dropout):
            if call.is_on and call.op.drop_rate > 0.0:
                self.survey.always_on.add(call.node)
            return args[0]
        quiet = without_dropout(call)
        if quiet is not None:
            self.survey.always_on.add(call.node)
        result = (quiet or call).run()
        self.survey.calls += 1
        if call.is_random:
            self.survey.always_on.add(call.node)
            _repeat_half(result)
        self.survey.cost += 8.0 * sum(tensor.numel() for tensor in tensors_in(result))  # memory traffic
        if self.survey.features_last is None and isinstance(call.op, ops.Weight | ops.Recurrent | ops.Attention):
            self.survey.features_last = self._sums_last_axis(call)
        self.survey.convolves |= call.kind.startswith("conv")
        if isinstance(call.op, ops.Weight) and isinstance(result, Tensor):
            self.survey.cost += result.numel() * call.tensors[1][0].numel()
        return result

    def _sums_last_axis(self, call: Called) -> bool:
        shape, x = self.survey.shape, call.tensors[0]
        return not call.kind.startswith("conv") and len(shape) > 1 and x.dim() > 2 and x.shape[-1] == shape[-1]


def _halves_agree(x: Any) -> bool:
    if not isinstance(x, Tensor) or x.dim() == 0 or x.shape[0] % (_HALVES * _SAMPLES):
        return False
    first, second = x.chunk(_HALVES)
    return bool(torch.allclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True))


def _repeat_half(result: Any) -> None:
    if isinstance(result, Tensor) and result.dim() > 0 and result.shape[0] == _HALVES * _SAMPLES:
        result[_SAMPLES:] = result[:_SAMPLES]
