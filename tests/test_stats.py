"""`dropcheck stats`: cos²θ of every weight layer, against the closed form on filters flattened by hand."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from torch import Tensor, nn
from torch.nn import functional as F

from dropcheck.capture import ExampleInput, capture
from dropcheck.report.stats import as_json, as_text
from dropcheck.result import ModelReport, Report, Status
from dropcheck.shift.closed_forms import cos2_theta
from dropcheck.shift.stats import LayerStatistics, MeanStatistics, mean_statistics
from dropcheck.simulate.stats import layer_statistics


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


LAYERS = (
    LayerStatistics("conv", "Conv2d", 144, 16, 0.025, convolution=True),
    LayerStatistics("dead", "Conv2d", 9, 16, None, convolution=True),
    LayerStatistics("fc", "Linear", 64, 10, 0.125),
)


def report(**facts: Any) -> Report:
    return Report(models=(ModelReport("nets.py:Net", Status.ANALYSED, arguments="width=4", **facts),))


class TestRendering:
    def test_table(self) -> None:
        assert as_text(report(weights="net.pt", layers=LAYERS), width=120) == (
            "nets.py:Net(width=4): weights of net.pt\n"
            "\n"
            " layer                   kind       d   filters    cos²θ   d·cos²θ\n"
            " ─────────────────────────────────────────────────────────────────\n"
            " conv                    Conv2d   144        16   0.0250      3.60\n"
            " dead                    Conv2d     9        16        –         –\n"
            " fc                      Linear    64        10   0.1250      8.00\n"
            "\n"
            " mean of 2 layers                                 0.0750      5.80\n"
            " mean of 1 convolution                            0.0250      3.60\n"
            "\n"
            "Li et al. 2019, Table 1, has cos²θ of 0.014 to 0.035 and d·cos²θ of 2.6 to 52.7 for trained networks.\n"
        )

    def test_weights_at_initialisation_say_so(self) -> None:
        text = as_text(report(layers=LAYERS[:1]), width=200)
        assert text.startswith("nets.py:Net(width=4): weights at initialisation, where d·cos²θ ≈ 1 whatever the width;")
        assert "Table 1" not in text
        assert "convolution" not in text  # all layers are: a second mean would say the same

    def test_what_was_not_found_is_named(self) -> None:
        text = as_text(report(layers=(), reason="no weights were found for /matmul"))
        assert text.splitlines()[-2:] == ["no weight layers", "no weights were found for /matmul"]

    def test_names_are_shown_and_not_interpreted(self) -> None:
        layer = LayerStatistics("[bold]a\x1b[31m", "Linear", 4, 4, 0.5)
        assert "[bold]a␛[31m" in as_text(report(layers=(layer,)))

    def test_colours_only_when_asked(self) -> None:
        assert "\x1b" not in as_text(report(layers=LAYERS))
        assert "\x1b" in as_text(report(layers=LAYERS), color=True)

    def test_json_has_the_numbers_in_full(self) -> None:
        (model,) = json.loads(as_json(report(weights="net.pt", layers=LAYERS)))["models"]
        assert model["layers"][0] == {
            "name": "conv",
            "kind": "Conv2d",
            "d": 144,
            "filters": 16,
            "cos2_theta": 0.025,
            "d_cos2_theta": pytest.approx(3.6),
        }
        assert model["layers"][1]["cos2_theta"] is None
        assert model["mean"] == {"layers": 2, "cos2_theta": pytest.approx(0.075), "d_cos2_theta": pytest.approx(5.8)}
        assert model["mean_convolutions"]["layers"] == 1


NETS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Linear(width, 4)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.even = nn.Linear(600, 600), nn.Linear(600, 600)
        nn.init.constant_(self.even.weight, 0.1)

    def forward(self, x):
        raise RuntimeError("not meant to be run")


made = Wide()
"""


@pytest.fixture
def stats(command: Command) -> Command:
    """Runs ``dropcheck stats`` beside nets.py."""
    Path("nets.py").write_text(NETS, encoding="utf-8")
    return partial(command, "stats")


class TestCommand:
    def test_given_weights(self, stats: Command) -> None:
        namespace: dict[str, Any] = {}
        exec(NETS, namespace)
        net = namespace["Net"](12)
        torch.save({"state_dict": net.state_dict()}, "net.pt")
        arguments = ("nets.py:Net(12)", "--weights", "net.pt", "--format", "json", "--output", "stats.json")
        assert stats(*arguments) == (0, "", "")
        (model,) = json.loads(Path("stats.json").read_text(encoding="utf-8"))["models"]
        assert (model["target"], model["status"]) == ("nets.py:Net", "analysed")
        assert (model["arguments"], model["weights"]) == ("12", "net.pt['state_dict']")
        expected = [(one.name, one.fan_in, one.filters, one.cos2_theta) for one in layer_statistics(net)]
        found = [(one["name"], one["d"], one["filters"], one["cos2_theta"]) for one in model["layers"]]
        assert found == [(*facts, pytest.approx(cos2)) for *facts, cos2 in expected]
        assert model["mean"]["layers"] == 2

    def test_weights_of_initialisation_are_real(self, stats: Command) -> None:
        """However large the layers, and whether or not the forward can be followed."""
        code, out, _ = stats("nets.py", "--format", "json")
        models = {model["target"]: model for model in json.loads(out)["models"] if model["layers"]}
        assert code == 0
        assert models.keys() == {"nets.py:Net", "nets.py:Wide", "nets.py:made"}
        for target in ("nets.py:Wide", "nets.py:made"):
            drawn, even = models[target]["layers"]
            assert drawn["d_cos2_theta"] == pytest.approx(1.0, abs=0.2)
            assert even["d_cos2_theta"] == pytest.approx(600.0)
        assert {model["weights"] for model in models.values()} == {None}

    def test_weights_of_another_model(self, stats: Command) -> None:
        torch.save(nn.Linear(3, 3).state_dict(), "other.pt")
        code, out, err = stats("nets.py:Net", "--weights", "other.pt")
        assert code == 3
        assert out == ""
        assert "other.pt does not fit Net" in err

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["."], "statistics are those of one model, and . is a directory"),
            (["nets.py:Net", "--weights", "no.pt"], "there is no file no.pt"),
            (["nets.py:Net", "--format", "yaml"], "'yaml'"),
            ([], "TARGET"),
        ],
    )
    def test_wrong_usage(self, stats: Command, arguments: list[str], complaint: str) -> None:
        code, out, err = stats(*arguments)
        assert (code, out) == (2, "")
        assert complaint in err
