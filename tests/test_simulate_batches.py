"""Units that rest most of the time, behind an activation and right before a norm."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated import IMAGE, VECTOR, assert_close, convnet, less_work, mlp, one_thread, predicted, settled, simulated
from torch import Tensor

from dropcheck.capture import ExampleInput
from dropcheck.simulate.batches import as_met, firing, maps_as_met
from dropcheck.simulate.copies import Copies, mean_var
from dropcheck.simulate.norms import Norms
from dropcheck.simulate.stretches import Stretch
from dropcheck.simulate.synthetic import Maker, mixed

__all__ = ["less_work", "one_thread"]  # fixtures for all of them

COPIES = Copies(masks=4, batch=2048)


def shares(function: str, shift: float) -> Tensor | None:
    """Of units that are N(shift, 1) in front of ``function``, with the statistics they have behind it."""
    torch.manual_seed(0)
    root = torch.randn(COPIES.rows, 3) + shift
    stretch = Stretch(root).then(lambda values, _: getattr(F, function)(values))
    x = stretch.replay(root, slice(None))
    mean, var = (moment[:, 0] for moment in mean_var(x[..., None]))
    return firing(x, stretch, COPIES, mean, var)


@pytest.mark.parametrize(("shift", "share"), [(0.0, 0.5), (-1.0, 0.16), (-2.0, 0.023)])
def test_the_share_of_samples_that_fire(shift: float, share: float) -> None:
    found = shares("relu", shift)
    assert found is not None
    assert share / 2 < float(found.median()) < share  # events are not all of one size


@pytest.mark.parametrize("function", ["gelu", "silu"])
def test_a_dip_is_not_taken_for_rest(function: str) -> None:
    found = shares(function, -0.75)  # the dip makes the mean about zero
    assert found is not None
    assert float(found.min()) > 0.2


@pytest.mark.parametrize("function", ["leaky_relu", "softsign"])
def test_units_that_never_rest(function: str) -> None:
    assert shares(function, -2.0) is None


def averaged(rates: Tensor, batches: int) -> tuple[Tensor, Tensor]:
    """Running means and variances (momentum .1, batches of 64) of units that are 1 at these rates and 0 otherwise."""
    mean, var = torch.zeros_like(rates), torch.zeros_like(rates)
    for _ in range(batches):
        share = torch.binomial(torch.full_like(rates, 64.0), rates) / 64.0
        mean, var = mean.lerp(share, 0.1), var.lerp(share * (1.0 - share) * 64.0 / 63.0, 0.1)
    return mean, var


def met(mean: Tensor, var: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """The variances of masked and clean copies that were calibrated to ``mean`` and ``var``, as the norm meets them."""
    x = mean + var.sqrt() * torch.randn(COPIES.rows, len(mean), dtype=mean.dtype)
    share = (mean.square() / var).clamp(1e-300, 1.0)
    out = as_met(x, COPIES, mean, var, share, momentum, 1e-5)[..., None]
    return mean_var(COPIES.masked(out))[1][:, 0], mean_var(COPIES.clean(out))[1][:, 0]


def test_a_running_variance_that_died_away_is_too_small_for_half_of_the_units() -> None:
    torch.manual_seed(0)
    rates = (torch.rand(3000, dtype=torch.float64) * (math.log(0.05) - math.log(2e-4)) + math.log(2e-4)).exp()
    mean, var = averaged(rates, 800)
    true = rates * (1.0 - rates)
    expected = met(mean, var, 0.1)[1]
    rare = (mean.square() / var < 2e-3) & (var > 0.0)
    assert int(rare.sum()) > 1000
    assert float((true > var)[rare].double().mean()) > 0.6
    assert 0.4 < float((true > expected)[rare].double().mean()) < 0.6
    often = rates > 0.03
    assert float((true / expected)[often].median()) == pytest.approx(1.0, abs=0.05)


def test_training_scales_what_fires_in_few_batches_by_those_alone() -> None:
    torch.manual_seed(0)
    rates = torch.tensor([0.3, 0.01, 0.001], dtype=torch.float64)
    mean, var = rates, rates * (1.0 - rates)
    samples = torch.bernoulli(rates.expand(4000, 64, 3))
    by_batch = (samples - samples.mean(1, keepdim=True)) / (samples.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    trained = met(mean, var, 0.0)[0] / (var + 1e-5)
    assert trained.tolist() == pytest.approx(by_batch.square().mean((0, 1)).tolist(), rel=0.15)


def test_statistics_over_all_batches_hold_for_evaluation() -> None:
    torch.manual_seed(0)
    mean = torch.tensor([1e-3, 0.5], dtype=torch.float64)
    var = mean * (1.0 - mean)
    assert met(mean, var, 0.0)[1].tolist() == pytest.approx(var.tolist(), rel=0.1)


def test_what_never_fired_is_not_expected_to() -> None:
    torch.manual_seed(0)
    mean, var = torch.tensor([0.5, 0.0], dtype=torch.float64), torch.tensor([0.25, 1e-9], dtype=torch.float64)
    assert met(mean, var, 0.1)[1].tolist() == pytest.approx([0.25, 1e-9], rel=0.1)


def test_a_layer_behind_units_that_hardly_ever_fire() -> None:
    """Without all this, Δ at the second norm would come out as half of what it is."""
    torch.manual_seed(0)
    model = mlp("after activation", 0.5, "relu", 96, 48)
    bias, weight = model.get_parameter("0.bias"), model.get_parameter("0.weight")
    with torch.no_grad():
        bias[:32] = -2.0 * weight.square().sum(1).mean().sqrt()
        model.train()
        for _ in range(400):
            model(torch.randn(64, *VECTOR))
    assert_close(predicted(model, VECTOR), simulated(model, VECTOR, batches=40), 0.2)


def test_batches_with_samples_that_are_large_everywhere_are_scaled_down() -> None:
    """Training gives a sum over units less variance than running statistics would."""
    torch.manual_seed(0)
    size = torch.randn(COPIES.rows, 1, dtype=torch.float64).exp()
    x = size * torch.randn(COPIES.rows, 40, dtype=torch.float64).relu()
    masked = COPIES.masked(x)
    mean, var = (moment[:, 0] for moment in mean_var(masked[..., None]))
    out = (as_met(x, COPIES, mean, var, torch.full((40,), 0.5), 0.0, 1e-5) - mean) / var.sqrt()
    by_batch = [F.batch_norm(batch, None, None, training=True) for batch in masked.split(128)]
    expected = torch.cat(by_batch).sum(1).var()
    assert float(COPIES.masked(out).sum(1).var()) == pytest.approx(float(expected), rel=0.02)
    assert float(((masked - mean) / var.sqrt()).sum(1).var()) > 1.05 * float(expected)


def test_maps_are_scaled_by_batch_where_there_are_enough_samples() -> None:
    torch.manual_seed(0)
    many, few = Copies(masks=2, batch=128), Copies(masks=2, batch=127)
    for copies in (many, few):
        size = torch.randn(copies.rows, 1, 1, 1).exp()
        x = size * torch.randn(copies.rows, 6, 2, 2)
        mean, var = (moment[:, 0] for moment in mean_var(copies.masked(x).flatten(2)))
        out = maps_as_met(x, copies, mean, var, 1e-5)
        assert torch.allclose(copies.clean(out), copies.clean(x), atol=1e-5)
        if copies is few:
            assert out is x
            continue
        assert torch.allclose(mean_var(copies.masked(out).flatten(2))[1][:, 0], var, rtol=1e-2)
        batches = [mean_var(batch.flatten(2))[1] for batch in copies.masked(out).split(64)]
        assert all(torch.allclose(batch, batches[0], rtol=1e-2) for batch in batches)
        assert not torch.allclose(mean_var(x[:64].flatten(2))[1], mean_var(x[64:128].flatten(2))[1], rtol=0.05)


def test_blended_samples_have_the_mean_and_variance_of_those_they_are_made_of() -> None:
    torch.manual_seed(0)
    maker = Maker(ExampleInput((torch.rand(2, 3, 4, 4),), given=True))
    few = maker.batch(32, (3, 4, 4))
    few = few.with_main(few.leaves[0] * torch.rand(3, 4, 4) + torch.rand(3, 4, 4))
    many = mixed(few, maker.batch(4000, (3, 4, 4)))
    old, new = few.leaves[0], many.leaves[0]
    assert many.batch == 4000
    assert torch.allclose(new.mean(0), old.mean(0), atol=0.1)
    assert torch.allclose(new.var(0), old.var(0, correction=0), rtol=0.15)
    assert len(new.flatten(1).unique(dim=0)) == 4000


def test_few_samples_are_blended_into_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    judged = Norms.batch_norm

    def counted(norms: Norms, name: str, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        counts.append(len(x) // norms.copies.count)
        return judged(norms, name, x, *args, **kwargs)

    monkeypatch.setattr(Norms, "batch_norm", counted)
    torch.manual_seed(0)
    model = settled(convnet("b", 0.3, "relu", 24, 24), IMAGE)
    monkeypatch.setattr("dropcheck.simulate.masked_copies.WORK", 2e9)
    predicted(model, IMAGE)
    assert set(counts) == {128}
    counts.clear()
    monkeypatch.setattr("dropcheck.simulate.masked_copies.WORK", 2e8)  # too little to match them well
    predicted(model, IMAGE)
    assert max(counts) < 128
