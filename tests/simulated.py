"""Small networks with settled statistics, predicted and simulated shifts, for the tests of prediction from weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import Lambda
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph
from dropcheck.shift import NormShift, Shifts
from dropcheck.simulate.masked_copies import predict_from_weights

VECTOR, IMAGE = (16,), (3, 8, 8)
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The models are small: on a busy machine several threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def less_work() -> Iterator[None]:
    """Enough for models as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dropcheck.simulate.masked_copies.WORK", 2e9)
        yield


def smooth(batch: int, shape: tuple[int, ...]) -> Tensor:
    """Data: white vectors, or images without detail."""
    if len(shape) == 1:
        return torch.randn(batch, *shape)
    coarse = torch.randn(batch, shape[0], 4, 4)
    return F.interpolate(coarse, size=shape[1:], mode="bicubic", align_corners=False)


def settled(model: nn.Module, shape: tuple[int, ...], batches: int = 8) -> nn.Module:
    """``model`` with the running statistics that training on smooth data would leave, and fresh affine parameters."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.momentum = None
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.7, 1.3)
            nn.init.normal_(norm.bias, 0.0, 0.3)
    model.train()
    with torch.no_grad():
        for _ in range(batches):
            model(smooth(256, shape))
    return model


def simulated(model: nn.Module, shape: tuple[int, ...], batches: int = 4) -> dict[str, float]:
    """Δ at every norm by module path: its input's variance with dropout off, over its running variance."""
    seen: dict[str, list[Tensor]] = {}
    twin = deepcopy(model).eval()
    for path, module in twin.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.register_forward_pre_hook(lambda _, args, path=path: seen.setdefault(path, []).append(args[0]))
    with torch.no_grad():
        for _ in range(batches):
            twin(smooth(256, shape))
    var = {path: torch.cat(xs).transpose(0, 1).flatten(1).var(1) for path, xs in seen.items()}
    return {path: float(one.mean() / twin.get_submodule(path).running_var.mean()) for path, one in var.items()}


def predicted(model: nn.Module, *shapes: tuple[int, ...]) -> Shifts:
    example = ExampleInput(tuple(torch.rand(2, *shape) for shape in shapes), given=True)
    return predict_from_weights(model, graph_of(model, example), example)


def graph_of(model: nn.Module, example: ExampleInput) -> Graph:
    return capture(deepcopy(model), [example], twin=lambda: deepcopy(model)).graph


def last(shifts: Shifts) -> NormShift:
    return list(shifts.norms.values())[-1]


def layers(case: str, drop_rate: float, activation: str, drop: Callable[[float], nn.Module]) -> list[nn.Module]:
    """Between one weight layer and the next, ``norm`` standing for the norm."""
    norm, act = nn.Identity(), ACTIVATIONS[activation]()
    return {
        "a": [drop(drop_rate), norm, act],
        "after activation": [act, drop(drop_rate), norm],
        "b": [norm, act, drop(drop_rate)],
    }[case]


def mlp(case: str, drop_rate: float, activation: str, *widths: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in zip((*VECTOR, *widths), widths, strict=False):
        block = layers(case, drop_rate, activation, nn.Dropout)
        parts += [
            nn.Linear(inputs, outputs),
            *(nn.BatchNorm1d(outputs) if type(m) is nn.Identity else m for m in block),
        ]
    return nn.Sequential(*parts, nn.Linear(widths[-1], 4))


def convnet(
    case: str, drop_rate: float, activation: str, *widths: int, drop: Callable[[float], nn.Module] = nn.Dropout
) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in zip((IMAGE[0], *widths), widths, strict=False):
        block = layers(case, drop_rate, activation, drop)
        parts += [nn.Conv2d(inputs, outputs, 3, padding=1)]
        parts += [nn.BatchNorm2d(outputs) if type(m) is nn.Identity else m for m in block]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4))


def assert_close(shifts: Shifts, truth: Mapping[str, float], tolerance: float) -> None:
    for name, shift in shifts.norms.items():
        assert shift.delta == pytest.approx(truth[name], rel=tolerance, abs=0.01), (name, shift.delta, truth)


def assert_shares_add_up(shifts: Shifts) -> None:
    for shift in shifts.norms.values():
        assert shift.delta is not None
        assert sum(source.share for source in shift.sources) == pytest.approx(1.0 if shift.sources else 0.0)
        product = 1.0
        for source in shift.sources:
            assert 0.0 < source.share <= 1.0
            product *= source.delta
        assert product == pytest.approx(shift.delta if shift.sources else 1.0)


class DropPath(nn.Module):
    """Drops whole samples, as many libraries define it."""

    def __init__(self, drop_prob: float, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1.0 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask.div_(keep) if self.scale_by_keep else mask)


def branch(noise: Callable[[Lambda, Tensor], Tensor], **parts: nn.Module) -> Lambda:
    """A residual block whose branch is noisy, between two norms."""

    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.bn1(m.conv1(x)))
        x = x + noise(m, m.conv2(x))
        return m.bn2(m.conv3(F.relu(m.bn3(x))))

    return Lambda(
        forward,
        conv1=nn.Conv2d(3, 12, 3, padding=1),
        bn1=nn.BatchNorm2d(12),
        conv2=nn.Conv2d(12, 12, 3, padding=1),
        bn3=nn.BatchNorm2d(12),
        conv3=nn.Conv2d(12, 8, 3, padding=1),
        bn2=nn.BatchNorm2d(8),
        **parts,
    )
