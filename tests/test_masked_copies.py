"""Shifts predicted from running statistics and weights, against the same nets run on the data they saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Lambda
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropcheck.capture import ExampleInput, capture
from dropcheck.graph import Graph
from dropcheck.shift import Evidence, NormShift, Shifts
from dropcheck.simulate.failure import PredictionError
from dropcheck.simulate.masked_copies import predict_from_weights

VECTOR, IMAGE = (16,), (3, 8, 8)
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


NETS = st.tuples(
    st.sampled_from(["a", "after activation", "b"]),
    st.sampled_from([0.1, 0.3, 0.5]),
    st.sampled_from(sorted(ACTIVATIONS)),
)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(net=NETS, widths=st.lists(st.sampled_from([24, 48]), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_random_mlps(net: tuple[str, float, str], widths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = settled(mlp(*net, *widths), VECTOR)
    shifts = predicted(model, VECTOR)
    assert_close(shifts, simulated(model, VECTOR), 0.1)
    assert_shares_add_up(shifts)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(net=NETS, widths=st.lists(st.sampled_from([8, 16]), min_size=1, max_size=2), seed=st.integers(0, 99))
def test_random_convnets(net: tuple[str, float, str], widths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = settled(convnet(*net, *widths), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.12)
    assert_shares_add_up(shifts)


# One operation at a time: predicted against simulated ------------------------------------------------------------


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


def new_empty_bernoulli(x: Tensor, keep: float) -> Tensor:
    return x * x.new_empty((len(x), 1, 1, 1)).bernoulli_(keep).div_(keep)


def floor_of_rand(x: Tensor, keep: float) -> Tensor:
    mask = keep + torch.rand((len(x), 1, 1, 1))
    mask.floor_()
    return x.div(keep) * mask


def rand_below(x: Tensor, keep: float) -> Tensor:
    return x * (torch.rand(len(x), 1, 1, 1) < keep) / keep


def bernoulli_of_full(x: Tensor, keep: float) -> Tensor:
    return torch.bernoulli(torch.full((len(x), 1, 1, 1), keep)) / keep * x


def where_rand(x: Tensor, keep: float) -> Tensor:
    return torch.where(torch.rand_like(x) < keep, x / keep, torch.zeros_like(x))


def masked_fill_rand(x: Tensor, keep: float) -> Tensor:
    return x.masked_fill(torch.rand_like(x) >= keep, 0.0) / keep


def gaussian_dropout(x: Tensor, keep: float) -> Tensor:
    return x * (1.0 + (1.0 / keep - 1.0) ** 0.5 * torch.randn_like(x))


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


LAYERS: Mapping[str, Callable[[], nn.Module]] = {
    "Dropout": lambda: nn.Dropout(0.4),
    "Dropout2d": lambda: nn.Dropout2d(0.4),
    "AlphaDropout": lambda: nn.AlphaDropout(0.2),
    "DropPath": lambda: DropPath(0.4),
    "DropPath unscaled": lambda: DropPath(0.4, scale_by_keep=False),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_dropout_layers_in_a_residual_branch(kind: str) -> None:
    torch.manual_seed(0)
    model = settled(branch(lambda m, x: m.drop(x), drop=LAYERS[kind]()), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert [source.dropout for source in shifts.norms["bn3"].sources] == ["drop"]
    assert shifts.norms["bn3"].sources[0].share == 1.0


@pytest.mark.parametrize(
    "mask",
    [
        new_empty_bernoulli,
        floor_of_rand,
        rand_below,
        bernoulli_of_full,
        where_rand,
        masked_fill_rand,
        gaussian_dropout,
    ],
    ids=lambda one: one.__name__,
)
def test_masks_made_by_hand(mask: Callable[[Tensor, float], Tensor]) -> None:
    torch.manual_seed(0)
    model = settled(branch(lambda m, x: mask(x, 0.6) if m.training else x), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert len(shifts.norms["bn3"].sources) == 1


def test_dropout_that_never_rests_is_no_shift() -> None:
    torch.manual_seed(0)
    for noise in (lambda m, x: F.dropout(x, 0.5), lambda m, x: new_empty_bernoulli(x, 0.5)):
        shifts = predicted(settled(branch(noise), IMAGE), IMAGE)
        assert [shift.delta for shift in shifts.norms.values()] == [1.0, 1.0, 1.0]
        assert not any(shift.sources for shift in shifts.norms.values())


def test_functional_dropout_that_training_gates() -> None:
    torch.manual_seed(0)
    model = settled(branch(lambda m, x: F.dropout(x, 0.5, m.training, True)), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert shifts.norms["bn3"].sources[0].dropout == "/dropout"


def test_concatenated_features() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.conv(x)
        x = torch.cat([x, m.drop1(m.grow1(F.relu(m.bn1(x))))], 1)
        x = torch.cat([x, m.drop2(m.grow2(F.relu(m.bn2(x))))], dim=1)
        return m.bn3(x)

    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(3, 8, 3, padding=1), "bn1": nn.BatchNorm2d(8)}
    parts |= {"grow1": nn.Conv2d(8, 6, 3, padding=1), "drop1": nn.Dropout(0.3), "bn2": nn.BatchNorm2d(14)}
    parts |= {"grow2": nn.Conv2d(14, 6, 3, padding=1), "drop2": nn.Dropout(0.5), "bn3": nn.BatchNorm2d(20)}
    model = settled(Lambda(forward, **parts), IMAGE)
    shifts = predicted(model, IMAGE)
    assert_close(shifts, simulated(model, IMAGE), 0.08)
    assert_shares_add_up(shifts)
    assert {source.dropout for source in shifts.norms["bn3"].sources} == {"drop1", "drop2"}
    untouched_part = shifts.norms["bn3"].per_channel[:8]
    assert untouched_part == pytest.approx([1.0] * 8, rel=0.05)


def test_max_pooling_behind_dropout_is_worse_than_without() -> None:
    def net(*between: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        return settled(
            nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Dropout(0.3), *between, nn.BatchNorm2d(12)), IMAGE
        )

    pooled, plain = net(nn.MaxPool2d(2)), net()
    assert_close(predicted(pooled, IMAGE), simulated(pooled, IMAGE), 0.08)
    assert_close(predicted(plain, IMAGE), simulated(plain, IMAGE), 0.08)
    assert last(predicted(pooled, IMAGE)).delta < 0.95 * last(predicted(plain, IMAGE)).delta


def test_squeeze_and_excitation() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.conv2(m.drop(F.relu(m.bn1(m.conv1(x)))))
        return m.bn2(x * torch.sigmoid(m.gate(x.mean((2, 3), keepdim=True))))

    torch.manual_seed(0)
    parts = {"conv1": nn.Conv2d(3, 12, 3), "conv2": nn.Conv2d(12, 12, 3), "gate": nn.Conv2d(12, 12, 1)}
    model = settled(
        Lambda(forward, **parts, drop=nn.Dropout(0.5), bn1=nn.BatchNorm2d(12), bn2=nn.BatchNorm2d(12)), IMAGE
    )
    assert_close(predicted(model, IMAGE), simulated(model, IMAGE), 0.08)


# Limits and symmetries --------------------------------------------------------------------------------------------


def test_case_a_is_the_closed_form() -> None:
    """Li et al. 2019, Eq. 6 inverted: v = p (R_v + R_m²) − R_m², Δ = v / R_v."""
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.3), nn.BatchNorm1d(32)), VECTOR)
    norm = model.get_submodule("2")
    expected = (0.7 * (norm.running_var + norm.running_mean**2) - norm.running_mean**2) / norm.running_var
    (shift,) = predicted(model, VECTOR).norms.values()
    assert shift.per_channel == pytest.approx(expected.tolist(), rel=0.15)
    assert shift.delta == pytest.approx(float((expected * norm.running_var).mean() / norm.running_var.mean()), rel=0.03)


@pytest.mark.parametrize("case", ["a", "after activation", "b"])
def test_without_dropout_there_is_no_shift(case: str) -> None:
    torch.manual_seed(0)
    nothing = predicted(settled(mlp(case, 0.0, "relu", 24, 24), VECTOR), VECTOR)
    assert [(shift.delta, shift.sources) for shift in nothing.norms.values()] == [(1.0, ())] * 2
    little = predicted(settled(mlp(case, 1e-3, "relu", 24, 24), VECTOR), VECTOR)
    assert [shift.delta for shift in little.norms.values()] == pytest.approx([1.0, 1.0], abs=0.02)


def test_a_layer_scaled_together_with_its_statistics_changes_nothing() -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.5, "gelu", 24, 24, 24), VECTOR)
    before = predicted(model, VECTOR)
    with torch.no_grad():
        layer, norm = model.get_submodule("4"), model.get_submodule("5")
        layer.weight *= 8.0
        layer.bias *= 8.0
        norm.running_mean *= 8.0
        norm.running_var *= 64.0
    after = predicted(model, VECTOR)
    for name, shift in before.norms.items():
        assert after.norms[name].delta == pytest.approx(shift.delta, rel=0.01)


def test_permuted_channels_permute_the_answer() -> None:
    torch.manual_seed(0)
    model = settled(convnet("b", 0.5, "relu", 8, 16), IMAGE)
    before = last(predicted(model, IMAGE))
    order = torch.randperm(16)
    with torch.no_grad():
        for tensor in (*model.get_submodule("4").parameters(), *model.get_submodule("5").buffers()):
            if tensor.dim() > 0:
                tensor.copy_(tensor[order])
    after = last(predicted(model, IMAGE))
    assert after.per_channel == pytest.approx([before.per_channel[i] for i in order], rel=0.1)
    assert after.delta == pytest.approx(before.delta, rel=0.02)


# Norms of all sorts -----------------------------------------------------------------------------------------------


def test_a_frozen_norm_passes_with_what_it_stored() -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.2, "relu", 24, 24, 24), VECTOR)
    frozen = model.get_submodule("5").eval()
    frozen.running_var.mul_(2.0)
    model.get_submodule("9").reset_running_stats()
    with torch.no_grad():
        for _ in range(8):
            model(smooth(256, VECTOR))
    shifts = predicted(model, VECTOR)
    assert list(shifts.norms) == ["1", "9"]
    assert_close(shifts, simulated(model, VECTOR), 0.1)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(24, track_running_stats=False), nn.LayerNorm(24), nn.GroupNorm(4, 24)], ids=repr
)
def test_norms_without_memory_use_their_own_statistics(norm: nn.Module) -> None:
    torch.manual_seed(0)
    parts = [nn.Linear(16, 24), nn.Dropout(0.5), norm, nn.ReLU(), nn.Linear(24, 24), nn.BatchNorm1d(24)]
    model = settled(nn.Sequential(*parts), VECTOR)
    shifts = predicted(model, VECTOR)
    assert list(shifts.norms) == ["5"]
    assert_close(shifts, simulated(model, VECTOR), 0.1)


def test_an_instance_norm_with_memory_is_judged_by_the_variances_of_samples() -> None:
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(12, track_running_stats=True, momentum=0.02)
    layers = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Dropout(0.4))
    model = nn.Sequential(*layers, norm)
    with torch.no_grad():
        for _ in range(150):
            model(smooth(64, IMAGE))
        seen = layers.eval()(smooth(1024, IMAGE)).flatten(2).var(2)
    assert norm.running_var is not None
    truth = float(seen.mean() / norm.running_var.mean())
    assert last(predicted(model.train(), IMAGE)).delta == pytest.approx(truth, rel=0.15)


def test_block_dropout_of_another_library() -> None:
    class DropBlock2d(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop_prob, self.block_size = 0.3, 3

        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return x
            seeds = torch.rand_like(x) < self.drop_prob / 9 * 64 / 36
            kept = 1.0 - F.max_pool2d(seeds.to(x.dtype), 3, 1, 1)
            return x * kept * kept.numel() / kept.sum()

    torch.manual_seed(0)
    model = settled(branch(lambda m, x: m.drop(x), drop=DropBlock2d()), IMAGE)
    assert_close(predicted(model, IMAGE), simulated(model, IMAGE), 0.1)


def test_a_norm_called_twice_is_two_nodes() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.bn(m.drop(m.second(F.relu(m.bn(m.drop(m.first(x)))))))

    torch.manual_seed(0)
    parts = {"first": nn.Linear(16, 24), "second": nn.Linear(24, 24), "bn": nn.BatchNorm1d(24)}
    shifts = predicted(settled(Lambda(forward, **parts, drop=nn.Dropout(0.3)), VECTOR), VECTOR)
    assert list(shifts.norms) == ["bn", "bn@2"]
    assert [source.dropout for source in shifts.norms["bn"].sources] == ["drop"]
    assert {source.dropout for source in shifts.norms["bn@2"].sources} == {"drop", "drop@2"}
    assert_shares_add_up(shifts)


def test_a_norm_that_does_not_see_the_batch_on_axis_0_has_no_delta() -> None:
    torch.manual_seed(0)
    parts = {"linear": nn.Linear(16, 24), "drop": nn.Dropout(0.5), "bn": nn.BatchNorm1d(24), "after": nn.Linear(24, 8)}

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.bn(m.drop(m.linear(x)).permute(1, 2, 0)).permute(2, 0, 1)
        return m.bn2(m.after(x).flatten(0, 1))

    model = Lambda(forward, **parts, bn2=nn.BatchNorm1d(8))
    model.train()
    model(torch.randn(24, 24, 16))
    shifts = predicted(model, (24, 16))
    assert shifts.norms["bn"].delta is None
    assert shifts.norms["bn2"].delta is not None


def test_tokens_flattened_into_the_batch() -> None:
    torch.manual_seed(0)
    parts = {"linear": nn.Linear(16, 24), "drop": nn.Dropout(0.5), "bn": nn.BatchNorm1d(24)}
    model = Lambda(lambda m, x: m.bn(m.drop(m.linear(x)).reshape(-1, 24)), **parts)
    norm = model.get_submodule("bn")
    norm.momentum = None
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(128, 5, 16))
    assert last(predicted(model, (5, 16))).delta == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 0.0])
def test_channels_without_usable_statistics_are_left_out(broken: float) -> None:
    torch.manual_seed(0)
    model = settled(mlp("b", 0.5, "relu", 24, 24, 24), VECTOR)
    before = predicted(model, VECTOR)
    model.get_submodule("5").running_var[:3] = broken
    after = predicted(model, VECTOR)
    assert after.norms["5"].per_channel[:3] == (None, None, None)
    assert after.norms["5"].delta == pytest.approx(before.norms["5"].delta, rel=0.1)
    if broken != 0.0:  # a channel that never varied is silent, one of unknown variance is not
        assert after.norms["9"].delta == pytest.approx(before.norms["9"].delta, rel=0.15)
    model.get_submodule("5").running_var.fill_(broken)
    gone = predicted(model, VECTOR)
    assert gone.norms["5"].delta is None
    assert gone.norms["9"].delta is not None


# Inputs -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", ["attention", "lstm"])
def test_dropout_inside_a_layer(kind: str) -> None:
    torch.manual_seed(0)

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.lstm(x)[0] if kind == "lstm" else m.attention(x, x, x)[0]
        return m.bn(x.mean(1))

    parts: dict[str, nn.Module] = {
        "attention": nn.MultiheadAttention(16, 4, dropout=0.5, batch_first=True),
        "lstm": nn.LSTM(16, 16, 2, dropout=0.5, batch_first=True),
    }
    model = Lambda(forward, bn=nn.BatchNorm1d(16), **{kind: parts[kind]})
    model.get_submodule("bn").momentum = None
    data = F.interpolate(torch.randn(512, 16, 4), size=8, mode="linear").transpose(1, 2)
    with torch.no_grad():
        for _ in range(4):
            model(data)
    shift = last(predicted(model, (8, 16)))
    truth = simulated_on(model, data)
    assert shift.delta == pytest.approx(truth, rel=0.15)
    assert [source.dropout for source in shift.sources] == [kind]


def simulated_on(model: nn.Module, data: Tensor) -> float:
    seen: list[Tensor] = []
    twin = deepcopy(model).eval()
    norm = twin.get_submodule("bn")
    norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        twin(data)
    return float(seen[0].var(0).mean() / norm.running_var.mean())


# Manners ----------------------------------------------------------------------------------------------------------


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


def test_a_way_chosen_by_a_random_number_is_an_error() -> None:
    torch.manual_seed(0)
    model = branch(lambda m, x: x * 0.0 if m.training and torch.rand(1).item() < 0.3 else x)
    with pytest.raises(PredictionError, match="random number"):
        predicted(settled(model, IMAGE), IMAGE)


def test_every_example_without_a_batch_is_an_error() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4))
    graph = graph_of(model, ExampleInput((torch.rand(2, 4),)))
    with pytest.raises(PredictionError, match="no batch"):
        predict_from_weights(model, graph, ExampleInput(()))
