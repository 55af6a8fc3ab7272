"""`dropcheck stats`: cos²θ of every weight layer, against the closed form on filters flattened by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropcheck.capture import ExampleInput, capture
from dropcheck.measure.stats import layer_statistics
from dropcheck.report.stats import as_json, as_text
from dropcheck.result import ModelReport, Report, Status
from dropcheck.shift.closed_forms import cos2_theta
from dropcheck.shift.stats import LayerStatistics, MeanStatistics, mean_statistics


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def mean_cos2_theta(filters: list[Tensor]) -> float:
    return sum(cos2_theta(one.flatten().tolist()) for one in filters) / len(filters)


def only(module: nn.Module) -> LayerStatistics:
    (layer,) = layer_statistics(module)
    return layer


class TestLayers:
    @pytest.mark.parametrize(
        ("layer", "d"),
        [
            (nn.Conv2d(6, 8, 3), 54),
            (nn.Conv2d(6, 8, (3, 1), groups=2, dilation=2), 9),
            (nn.Conv2d(6, 12, 3, groups=6), 9),
            (nn.Conv1d(4, 5, 7, stride=3), 28),
            (nn.Conv3d(2, 3, 2), 16),
            (nn.Linear(20, 7), 20),
            (nn.Bilinear(3, 4, 5), 12),
        ],
        ids=["plain", "grouped", "depthwise", "1d", "3d", "linear", "bilinear"],
    )
    def test_filters_are_flattened_per_output(self, layer: nn.Module, d: int) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        found = only(layer)
        assert (found.kind, found.fan_in, found.filters) == (type(layer).__name__, d, len(weight))
        assert found.cos2_theta == pytest.approx(mean_cos2_theta(list(weight)), rel=1e-4)
        assert found.d_cos2_theta == pytest.approx(d * mean_cos2_theta(list(weight)), rel=1e-4)
        assert found.convolution == ("Conv" in found.kind)

    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_transposed_filters_belong_to_their_own_output(self, groups: int) -> None:
        """Each filter is found from outside: the gradient of one output channel with respect to the inputs."""
        layer = nn.ConvTranspose2d(4, 8, 3, groups=groups, bias=False)
        found = only(layer)
        impulses = torch.eye(4).reshape(4, 4, 1, 1)
        spread = layer(impulses).detach()  # (input, output, 3, 3): the kernels between them, 0 across groups
        filters = [spread[:, output][spread[:, output].abs().sum((1, 2)) > 0] for output in range(8)]
        assert (found.fan_in, found.filters) == (4 // groups * 9, 8)
        assert found.cos2_theta == pytest.approx(mean_cos2_theta(filters), rel=1e-4)

    def test_normalised_weights_are_those_in_use(self) -> None:
        with pytest.warns(FutureWarning):
            hooked = nn.utils.weight_norm(nn.Linear(6, 4), dim=1)
        parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4), dim=1)
        for layer, gain in ((hooked, "weight_g"), (parametrized, "parametrizations.weight.original0")):
            with torch.no_grad():
                layer.get_parameter(gain).copy_(torch.tensor([[9.0, 1.0, 1.0, 1.0, 1.0, 1.0]]))
            found = only(layer)
            layer(torch.zeros(1, 6))
            assert found.cos2_theta == pytest.approx(mean_cos2_theta(list(layer.weight)), rel=1e-4)

    def test_attention_and_recurrent_layers_have_several_matrices(self) -> None:
        model = nn.ModuleDict(
            {
                "same": nn.MultiheadAttention(8, 2),
                "other": nn.MultiheadAttention(8, 2, kdim=4, vdim=4),
                "lstm": nn.LSTM(3, 5, bidirectional=True),
                "cell": nn.GRUCell(3, 5),
            }
        )
        assert {one.name: (one.fan_in, one.filters) for one in layer_statistics(model)} == {
            "same.in_proj_weight": (8, 24),
            "same.out_proj": (8, 8),
            "other.q_proj_weight": (8, 8),
            "other.k_proj_weight": (4, 8),
            "other.v_proj_weight": (4, 8),
            "other.out_proj": (8, 8),
            "lstm.weight_ih_l0": (3, 20),
            "lstm.weight_hh_l0": (5, 20),
            "lstm.weight_ih_l0_reverse": (3, 20),
            "lstm.weight_hh_l0_reverse": (5, 20),
            "cell.weight_ih": (3, 15),
            "cell.weight_hh": (5, 15),
        }

    def test_functional_layers_use_parameters_of_their_module(self) -> None:
        class Inner(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kernel, self.scale = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.ones(4, 27))
                self.fc = nn.Linear(4, 4)

            def forward(self, x: Tensor) -> Tensor:
                return F.linear(self.fc(F.conv2d(x, self.kernel).mean((2, 3))), self.fc.weight)

        model = nn.Sequential(Inner())
        graph = capture(model, [ExampleInput((torch.randn(2, 3, 8, 8),))], twin=lambda: model).graph
        assert [one.name for one in layer_statistics(model)] == ["0.fc"]
        fc, kernel, *others = layer_statistics(model, graph)
        assert (fc.name, kernel.name, kernel.kind, kernel.fan_in) == ("0.fc", "0.kernel", "conv2d", 27)
        assert [one.name for one in others] == []

    def test_pruned_filters_count_for_nothing(self) -> None:
        layer = nn.Linear(8, 4)
        with torch.no_grad():
            layer.weight[1:3] = 0.0
        found = only(layer)
        assert found.filters == 4
        assert found.cos2_theta == pytest.approx(mean_cos2_theta([layer.weight[0], layer.weight[3]]), rel=1e-4)

    @pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
    def test_weights_without_a_direction_have_none(self, value: float) -> None:
        layer = nn.Linear(8, 4)
        with torch.no_grad():
            layer.weight[:] = value
        assert (only(layer).cos2_theta, only(layer).d_cos2_theta) == (None, None)

    def test_equal_weights_agree_in_full(self) -> None:
        layer = nn.Conv2d(16, 4, 3)
        with torch.no_grad():
            layer.weight[:] = -0.3
        assert only(layer).cos2_theta == pytest.approx(1.0)
        assert only(layer).d_cos2_theta == pytest.approx(144.0)

    def test_half_precision(self) -> None:
        layer = nn.Linear(4096, 4, dtype=torch.bfloat16)
        assert only(layer).cos2_theta == pytest.approx(mean_cos2_theta(list(layer.weight.float())), rel=1e-3)

    @pytest.mark.parametrize("layer", [nn.LazyLinear(4), nn.Linear(4, 4, device="meta")], ids=["lazy", "meta"])
    def test_weights_without_values_are_left_out(self, layer: nn.Module) -> None:
        assert layer_statistics(layer) == ()

    def test_random_weights_have_a_product_of_one(self) -> None:
        """d·cos²θ = 1 in the mean for independent weights of mean 0, whatever the width."""
        for width in (8, 64, 512):
            layer = nn.Conv2d(width, 512, 3)
            assert only(layer).d_cos2_theta == pytest.approx(1.0, abs=0.2)


def layer(cos2: float | None, d: int, *, convolution: bool = False) -> LayerStatistics:
    return LayerStatistics("l", "Conv2d" if convolution else "Linear", d, 4, cos2, convolution)


class TestMeans:
    def test_every_layer_counts_the_same(self) -> None:
        assert mean_statistics([layer(0.5, 10), layer(0.1, 100)]) == MeanStatistics(2, 0.3, 7.5)

    def test_layers_without_a_direction_are_left_out(self) -> None:
        assert mean_statistics([layer(0.5, 10), layer(None, 100)]) == MeanStatistics(1, 0.5, 5.0)
        assert mean_statistics([layer(None, 10)]) is None
        assert mean_statistics([]) is None
