"""The run of a masked-copies prediction: its inputs, its manners, and what is told when it fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated import (
    IMAGE,
    VECTOR,
    DropPath,
    convnet,
    graph_of,
    last,
    less_work,
    mlp,
    one_thread,
    predicted,
    settled,
)
from small_models import Lambda
from torch import Tensor, nn

from dropcheck.capture import ExampleInput
from dropcheck.shift import Evidence
from dropcheck.simulate import masked_copies
from dropcheck.simulate.calibrate import without_tails
from dropcheck.simulate.copies import Copies, mean_var, moments
from dropcheck.simulate.failure import PredictionError, PredictionFault
from dropcheck.simulate.masked_copies import predict_from_weights
from dropcheck.simulate.survey import Survey

__all__ = ["less_work", "one_thread"]  # fixtures for all of them


def test_token_ids() -> None:
    torch.manual_seed(0)
    parts = {"table": nn.Embedding(50, 16), "drop": nn.Dropout(0.5), "linear": nn.Linear(16, 24)}
    model = Lambda(lambda m, x: m.bn(m.linear(m.drop(m.table(x))).mean(1)), **parts, bn=nn.BatchNorm1d(24))
    model.get_submodule("bn").momentum = None
    with torch.no_grad():
        for _ in range(8):
            model(torch.randint(0, 50, (256, 6)))
    example = ExampleInput((torch.arange(100).reshape(2, 50)[:, :6] % 50,))
    example.args[0][0, 0], example.args[0][1, 1] = 0, 49
    shifts = predict_from_weights(model, graph_of(model, example), example)
    with torch.no_grad():
        model.eval()
        seen = model.get_submodule("linear")(model.get_submodule("table")(torch.randint(0, 50, (2000, 6)))).mean(1)
    truth = float(seen.var(0).mean() / model.get_submodule("bn").running_var.mean())
    assert shifts.norms["bn"].delta == pytest.approx(truth, rel=0.08)


def test_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.drop, self.bn = nn.Linear(16, 24), nn.Dropout(0.5), nn.BatchNorm1d(24)

        def forward(self, x: Tensor, scale: Tensor, *, flag: bool, mask: Tensor) -> Tensor:
            assert flag
            assert mask.shape == (16,)
            assert scale.shape == (len(x), 1)
            return self.bn(self.drop(self.linear(x * mask)) * scale)

    torch.manual_seed(0)
    model = Two()
    extra = {"flag": True, "mask": torch.ones(16)}
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(256, 16), torch.ones(256, 1), **extra)
    example = ExampleInput((torch.rand(2, 16), torch.ones(2, 1)), extra)
    assert last(predict_from_weights(model, graph_of(model, example), example)).delta == pytest.approx(0.5, rel=0.1)


def test_no_run_is_the_size_of_the_input() -> None:
    sizes: list[torch.Size] = []
    torch.manual_seed(0)
    model = settled(convnet("b", 0.5, "relu", 8, 8), IMAGE)
    example = ExampleInput((torch.rand(2, 3, 224, 224),))
    graph = graph_of(model, example)
    model.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape))
    predict_from_weights(model, graph, example)
    assert sizes
    assert max(max(size[2:]) for size in sizes) <= 32


def test_a_model_that_wants_its_size_gets_it() -> None:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3, 2), nn.Dropout(0.5), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 19 * 19, 2)]
    model = settled(nn.Sequential(*parts), (3, 40, 40), 2)
    assert last(predicted(model, (3, 40, 40))).delta == pytest.approx(0.5, rel=0.1)


def state_of(model: nn.Module) -> list[Any]:
    return [
        {name: tensor.tolist() for name, tensor in model.state_dict().items()},
        [parameter.requires_grad for parameter in model.parameters()],
        [(module.training, sorted(vars(module)), len(module._forward_pre_hooks)) for module in model.modules()],
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("failing", [True, False])
def test_the_model_is_left_as_it_was(training: bool, failing: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.count.add_(1)
        x = m.bn2(m.path(m.conv2(F.relu(m.bn1(m.conv1(x)), inplace=True))))
        if failing and len(x) > 8:
            raise ValueError("too many samples")
        return x

    parts = {"conv1": nn.Conv2d(3, 8, 3), "conv2": nn.Conv2d(8, 8, 3), "path": DropPath(0.3)}
    model = Lambda(forward, **parts, bn1=nn.BatchNorm2d(8), bn2=nn.BatchNorm2d(8))
    model.register_buffer("count", torch.zeros(()))
    model.train(training)
    model.get_submodule("bn1").eval()
    model.get_submodule("conv1").requires_grad_(False)
    example = ExampleInput((torch.rand(2, *IMAGE),))
    graph = graph_of(model, example)
    before = state_of(model)
    if failing:
        with pytest.raises(PredictionError, match="too many samples"):
            predict_from_weights(model, graph, example)
    else:
        predict_from_weights(model, graph, example)
    assert state_of(model) == before


def test_the_answer_is_the_same_twice() -> None:
    torch.manual_seed(0)
    model = settled(convnet("b", 0.5, "relu", 8, 8), IMAGE)
    first = predicted(model, IMAGE)
    torch.manual_seed(99)
    assert predicted(model, IMAGE) == first
    assert first.evidence is Evidence.WEIGHTS


def test_every_example_without_a_batch_is_an_error() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4))
    graph = graph_of(model, ExampleInput((torch.rand(2, 4),)))
    with pytest.raises(PredictionError, match="no batch"):
        predict_from_weights(model, graph, ExampleInput(()))


def test_what_forward_raises_is_told_as_the_models() -> None:
    torch.manual_seed(0)

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.bn(m.drop(m.linear(x)))
        return x.reshape(2, 24) if m.training else x

    parts = {"linear": nn.Linear(16, 24), "drop": nn.Dropout(0.5), "bn": nn.BatchNorm1d(24)}
    with pytest.raises(PredictionError, match=r"forward on synthetic input raised RuntimeError: shape '\[2, 24\]'"):
        predicted(Lambda(forward, **parts), VECTOR)


def test_a_fault_of_the_predictor_is_told_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.5, "relu", 24, 24), VECTOR)
    monkeypatch.setattr("dropcheck.simulate.calibrate.moments", lambda *_: None)
    before = state_of(model)
    with pytest.raises(PredictionFault, match="AttributeError: 'NoneType'"):
        predicted(model, VECTOR)
    assert state_of(model)[:3] == before[:3]


@pytest.mark.parametrize("cost", [10.0**power for power in range(4, 11)])
def test_work_is_bounded_until_samples_are_few(cost: float) -> None:
    effort = masked_copies._effort(Survey((3, 32, 32), cost, calls=100, convolves=True), 10**5)
    matching, once = effort.batch * cost * 3 * effort.steps, cost * (effort.masks + 1)
    mixing = effort.mixed and effort.mixed * (once + cost * 3 * masked_copies._STEPS_MIXED)
    assert effort.batch == 8 or (effort.batch > 8 and matching + effort.batch * once <= masked_copies.WORK)
    assert mixing <= 0.8 * masked_copies.WORK


def test_tails_of_vectors_are_cut_and_moments_kept() -> None:
    torch.manual_seed(0)
    signal = 2.0 + torch.randn(2000, 12) * torch.rand(2000, 1).square().mul(3.0)
    copies = Copies(masks=2, batch=2000)
    heavy = moments(torch.cat([signal + 0.1 * torch.randn_like(signal), signal, signal]), copies)
    light = without_tails(heavy)
    assert kurtosis(heavy.signal) > 5.0
    assert kurtosis(light.signal) == pytest.approx(3.0, abs=0.3)
    for now, then in zip(mean_var(light.signal), mean_var(heavy.signal), strict=True):
        torch.testing.assert_close(now, then, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(light.copies - light.signal, heavy.copies - heavy.signal, rtol=1e-4, atol=1e-4)


def test_tails_of_maps_stay() -> None:
    torch.manual_seed(0)
    maps = moments(torch.randn(60, 4, 3, 3).pow(3), Copies(masks=2, batch=20))
    assert without_tails(maps) is maps


def kurtosis(signal: Tensor) -> float:
    z = signal - signal.mean(0)
    return float((z.pow(4).mean(0) / z.square().mean(0).square()).median())
