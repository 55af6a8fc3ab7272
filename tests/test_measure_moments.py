"""Sums per channel: exact, merged in any order, and blind to values that are no numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from dropcheck.measure.moments import GROUPS, Collected, Place, Sums, sums_of, total


def exactly(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance per channel, by the definition."""
    values = torch.cat([batch.double().transpose(0, 1).flatten(1) for batch in batches], 1)
    return values.mean(1), values.var(1)


def collected(batches: list[Tensor]) -> Sums:
    found = Collected()
    for index, batch in enumerate(batches):
        found.add({Place("norm", 1): sums_of(batch)}, index)
    assert found.sums is not None
    return total(found.sums)


def variance(sums: Sums) -> Tensor:
    return sums.squares / (sums.count - 1.0)


@pytest.mark.parametrize("shape", [(16, 5), (8, 5, 7), (8, 5, 6, 7), (3, 5, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_over_batches_are_those_of_all_values(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(size, *shape[1:], generator=generator).to(dtype) * 3.0 + 2.0 for size in (*[8] * 20, 3)]
    mean, var = exactly(batches)
    sums = collected(batches)
    torch.testing.assert_close(sums.mean, mean, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(variance(sums), var, rtol=2e-7, atol=0.0)
    assert sums.count.tolist() == [float(sum(batch[:, 0].numel() for batch in batches))] * 5


@pytest.mark.parametrize("mean", [1e3, -1e5])
def test_a_large_mean_costs_no_digits(mean: float) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(8, 3, 50, generator=generator) + mean for _ in range(5)]
    torch.testing.assert_close(variance(collected(batches)), exactly(batches)[1], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_order_in_memory_does_not_matter(layout: torch.memory_format) -> None:
    x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    torch.testing.assert_close(variance(sums_of(x)), exactly([x])[1], rtol=2e-7, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full(dtype: torch.dtype) -> None:
    x = (300.0 * torch.randn(64, 3, 40, generator=torch.Generator().manual_seed(0))).to(dtype)
    torch.testing.assert_close(variance(sums_of(x)), exactly([x])[1], rtol=1e-6, atol=0.0)


def test_a_batch_with_a_value_that_is_no_number_is_lost_for_its_channel_alone() -> None:
    batches = [torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    spoilt = batches[1].clone()
    spoilt[0, 1, 2] = float("nan")
    spoilt[1, 2, 0] = float("inf")
    sums = collected([batches[0], spoilt, batches[2]])
    assert sums.lost.tolist() == [0.0, 1.0, 1.0]
    torch.testing.assert_close(variance(sums)[0], exactly(batches)[1][0])
    torch.testing.assert_close(variance(sums)[1:], exactly([batches[0], batches[2]])[1][1:])


def test_places_may_turn_up_late_and_in_any_order() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = ([torch.randn(6, width, generator=generator) for _ in range(4)] for width in (3, 2))
    found = Collected()
    found.add({Place("one", 1): sums_of(one[0])}, 0)
    found.add({Place("other", 1): sums_of(other[1]), Place("one", 1): sums_of(one[1])}, 1)
    found.add({Place("other", 1): sums_of(other[2])}, 2)
    found.add({}, 3)
    mean, var = exactly(one[:2])
    at_one, at_other = total(found.at(Place("one", 1))), total(found.at(Place("other", 1)))
    torch.testing.assert_close(at_one.mean, mean)
    torch.testing.assert_close(variance(at_one), var)
    torch.testing.assert_close(variance(at_other), exactly(other[1:3])[1])


def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    found = Collected()
    sizes = set()
    for index in range(3 * GROUPS):
        found.add({Place("norm", 1): sums_of(torch.ones(2, 7))}, index)
        assert found.sums is not None
        sizes.add(found.sums.values.numel())
    assert sizes == {4 * GROUPS * 7}


def test_nothing_waits_for_the_device() -> None:
    """A fake tensor has no values to look at: whoever asks for one raises."""
    with FakeTensorMode():
        found = Collected()
        for index in range(2):
            x = torch.randn(4, 3, 5, 5)
            found.add({Place("one", 1): sums_of(x), Place("other", 1): sums_of(x.half().flatten(1))}, index)
        with pytest.raises(DataDependentOutputException):
            x.isfinite().all().item()


def test_without_a_group_the_rest_is_left() -> None:
    batches = [torch.randn(5, 2, generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    found = Collected()
    for index, batch in enumerate(batches):
        found.add({Place("norm", 1): sums_of(batch)}, index)
    assert found.sums is not None
    torch.testing.assert_close(variance(total(found.sums, without=2)), exactly(batches[:2] + batches[3:])[1])
