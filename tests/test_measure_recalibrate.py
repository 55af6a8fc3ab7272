"""dropcheck.recalibrate, and the assertion for test suites."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from by_hand import images, inputs_of, one_thread, seeded, stack, trained, variances
from torch import Tensor, nn

import dropcheck
from dropcheck import MeasurementError
from dropcheck.measure.recalibrating import Recalibrating
from dropcheck.testing import assert_no_variance_shift

__all__ = ["one_thread", "seeded"]  # fixtures for all of them


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("stat", ["both", "var"])
def test_the_first_norm_gets_the_statistics_of_all_values(stat: Any) -> None:
    net, data = stack(), images(7, seed=3)
    net.eval()
    before = state(net)
    dropcheck.recalibrate(net, data, stat=stat)
    with inputs_of(net) as seen, torch.no_grad():
        for batch in data:
            net(batch)
    torch.testing.assert_close(net[1].running_var, variances(seen)["1"].float())
    mean = torch.cat(seen["1"], 1).mean(1).float()
    torch.testing.assert_close(net[1].running_mean, mean if stat == "both" else before["1.running_mean"])
    kinds = {"running_var"} | ({"running_mean"} if stat == "both" else set())
    assert changed(net, before) == {f"{norm}.{kind}" for norm in (1, 6, 9) for kind in kinds}
    assert not net.training


def test_it_takes_the_shift_away_and_says_so() -> None:
    net, data = stack(0.5), images(20, size=64)
    table = dropcheck.recalibrate(net, data)
    assert table["6"].delta_before < 0.6
    assert table["9"].delta_before < 0.6
    assert all(norm.delta_after == pytest.approx(1.0, abs=0.02) for norm in table)
    probed = dropcheck.probe(net, data, predicted=False)
    assert all(norm.shift_ratio == pytest.approx(1.0, abs=0.02) for norm in probed)
    assert table["6"].after is not None
    assert table["6"].after.moving_var == pytest.approx(probed["6"].moving_var, rel=1e-6)
    assert table["6"].after.real_var == pytest.approx(probed["6"].real_var, rel=1e-6)


def test_a_pass_without_dropout_is_what_the_statistics_rest_on() -> None:
    """As a network without dropout has it in training: each batch normalised with its own statistics."""
    net, data = stack(0.5), images(6)
    bare = stack(0.5).train()
    bare[3].p = bare[8].p = 0.0
    with inputs_of(bare) as seen, torch.no_grad():
        for batch in data:
            bare(batch)
    dropcheck.recalibrate(net, data)
    for name, var in variances(seen).items():
        torch.testing.assert_close(net.get_submodule(name).running_var, var.float(), rtol=1e-5, atol=0.0)


def test_what_can_be_run_over_only_once_leaves_the_rest_unmeasured() -> None:
    one, other = stack(), stack()
    table = dropcheck.recalibrate(one, iter(images(5)))
    dropcheck.recalibrate(other, images(5))
    assert {norm.delta_after for norm in table} == {None}
    assert "only once" in table.notes[-1]
    assert changed(one, other.state_dict()) == set()


def test_frozen_norms_and_those_without_memory_stay_as_they_are() -> None:
    parts = (nn.Dropout(), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False), nn.BatchNorm1d(4))
    net, data = nn.Sequential(*parts), [torch.randn(16, 4) for _ in range(4)]
    net[1].eval()
    before = state(net)
    table = dropcheck.recalibrate(net, data)
    assert changed(net, before) == {"3.running_mean", "3.running_var"}
    assert [norm.after is not None for norm in table] == [False, False, True]
    with pytest.raises(MeasurementError, match="keeps running statistics that training changes"):
        dropcheck.recalibrate(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)), data)


def test_nothing_is_written_unless_all_went_well() -> None:
    net, data = stack(), images(3)
    before = state(net)
    with pytest.raises(MeasurementError, match="fails on a batch of 16x3x8 float32"):
        dropcheck.recalibrate(net, [*data, data[0][..., 0]])
    unfinished = Recalibrating(net)
    steps = unfinished.steps(data)
    for _ in range(4):
        next(steps)
    with pytest.raises(MeasurementError, match="did not come to its end"):
        unfinished.commit()
    steps.close()
    assert changed(net, before) == set()
    assert unfinished.table().complete is False


def test_a_channel_without_numbers_keeps_its_statistics() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x / torch.tensor([1.0, 0.0, 2.0]))

    net = Broken()
    dropcheck.recalibrate(net, [torch.randn(64, 3) * 3.0 for _ in range(4)])
    assert net.norm.running_var[1] == 1.0
    assert net.norm.running_var[0] > 7.0


def test_a_norm_that_only_meets_nan_fails_the_recalibration() -> None:
    net, data = stack(), images(5)
    with torch.no_grad():
        net[0].weight.fill_(torch.nan)
    before = state(net)
    with pytest.raises(MeasurementError, match="'1' gives no finite mean and variance"):
        dropcheck.recalibrate(net, data)
    assert changed(net, before) == {"0.weight"}  # NaN, which is not equal to itself


def test_statistics_that_were_no_numbers_are_mended() -> None:
    net, data = stack(), images(20, size=64)
    net[6].running_var[:2] = torch.nan
    table = dropcheck.recalibrate(net, data)
    assert all(norm.delta_after == pytest.approx(1.0, abs=0.02) for norm in table)
    assert table["1"].remark is None
    assert table["6"].remark == "2 of 6 channels had no finite statistics before"


def test_the_example_tells_the_story(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples"))
    story: Any = importlib.import_module("recalibrate_story")
    batches, *held = story.load()
    few = story.Digits(batches.images[:512], batches.labels[:512])
    monkeypatch.setattr(story, "load", lambda: (few, *held))
    monkeypatch.setattr(story, "EPOCHS", 1)
    story.main()
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [f"features.{norm}" for norm in (1, 6, 11, 16)] * 2
    assert [float(line.rpartition(" ")[2]) for line in lines[4:]] == pytest.approx([1.0] * 4, abs=0.1)
    assert all(0.0 <= float(line.rpartition(" ")[2]) <= 1.0 for line in (first, last))


# assert_no_variance_shift --------------------------------------------------------------------------------------------


def residual(rate: float) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(rate), nn.BatchNorm2d(8))


@pytest.mark.parametrize("given", [torch.randn(32, 3, 8, 8), 50.0 + 9.0 * torch.rand(8, 3, 8, 8)])
@pytest.mark.parametrize("make", [lambda net: net, lambda net: trained(net, images(20))], ids=["new", "trained"])
def test_a_model_without_dropout_passes_whatever_the_input(make: Any, given: Tensor) -> None:
    net = make(residual(0.0))
    before = state(net)
    assert_no_variance_shift(net, given)
    assert changed(net, before) == set()


@pytest.mark.parametrize("make", [lambda net: net, lambda net: trained(net, images(20))], ids=["new", "trained"])
def test_a_shift_fails_with_norm_dropout_and_number(make: Any) -> None:
    net = make(residual(0.5))
    with pytest.raises(AssertionError) as caught:
        assert_no_variance_shift(net, images(1)[0])
    text = str(caught.value)
    assert "dropout shifts 1 of 2 batch norms of Sequential by more than 1.05" in text
    assert "'4': Δ = 0." in text
    assert "from '3' 100%" in text
    assert_no_variance_shift(net, (images(1)[0],), max_shift_ratio=4.0)


def test_the_lines_are_named_where_forward_is_written_out() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.drop(x))

    with pytest.raises(AssertionError, match=r"'norm' \(.*test_measure_recal.*: Δ = 0\.[45]\d+, from 'drop'"):
        assert_no_variance_shift(trained(Net(), [torch.randn(32, 4)]), {"x": torch.randn(64, 4)})


def test_what_cannot_be_judged_is_no_success() -> None:
    with pytest.raises(MeasurementError, match="has no batch norm"):
        assert_no_variance_shift(nn.Sequential(nn.Linear(4, 4), nn.Dropout()), torch.randn(4, 4))
    with pytest.raises(MeasurementError, match="every batch holds a single sample"):
        assert_no_variance_shift(nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4)), torch.randn(1, 4))
