"""The benchmarks' own parts, and the kept result: what typical layers are held to."""

from __future__ import annotations

import statistics
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import data, measuring, tables
from benchmarks.nets import NAMES, build
from small_models import captured
from torch import nn

from dropcheck.shift import predict

RESULTS = Path(__file__).parent / "benchmarks" / "RESULTS.md"


def kept_pairs() -> dict[str, list[tuple[str, str, float]]]:
    """(dropout, norm, measured Δ) by network, from the last table of the kept result."""
    lines = RESULTS.read_text(encoding="utf-8").partition("## First pairs")[2].strip().splitlines()[2:]
    pairs = defaultdict(list)
    for line in lines:
        network, dropout, norm, measured, _ = (cell.strip() for cell in line.strip("|").split("|"))
        pairs[network].append((dropout, norm, float(measured)))
    return pairs


def test_untrained_code_ranks_first_pairs_as_the_trained_networks_do() -> None:
    pairs, predicted, measured = kept_pairs(), [], []
    assert list(pairs) == list(NAMES)
    for network, known in pairs.items():
        graph = captured(build(network), (2, 2, data.LENGTH) if network.startswith("series") else (2, 1, 16, 16))
        names = {node.path: node.name for node in graph}
        shifts = predict(graph).norms
        for dropout, norm, delta in known:
            sources = shifts[names[norm]].sources
            predicted.append(next(source.delta for source in sources if source.dropout == names[dropout]))
            measured.append(delta)
    assert tables.rank_correlation(predicted, measured) >= 0.85
    assert statistics.median(abs(one / other - 1.0) for one, other in zip(predicted, measured, strict=True)) < 0.04


def test_measured_shift_of_case_a_is_the_closed_form() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.BatchNorm1d(64), nn.Dropout(0.4), nn.BatchNorm1d(64))
    inputs = data.digits().inputs[:720]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    model(data.augmented(inputs))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = measuring.shifts(model, inputs)
    assert found["2"] == pytest.approx(1.0, abs=0.02)
    assert found["4"] == pytest.approx(0.6, rel=0.06)
    alone = measuring.shifts_of_one(model, inputs, ["3"])
    assert alone["3"]["4"] == pytest.approx(0.6, rel=0.03)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_augmentation_changes_every_sample_on_its_own() -> None:
    torch.manual_seed(0)
    for split, shape in ((data.digits(), (1, 16, 16)), (data.series(200), (2, data.LENGTH))):
        one = split.inputs[:1].expand(50, *shape)
        changed = data.augmented(one)
        assert changed.shape == one.shape
        assert len(torch.unique(changed.flatten(1), dim=0)) == 50


def test_figures_of_a_comparison() -> None:
    comparison = tables.Comparison((1.1, 0.5, 0.9), (1.0, 0.5, 1.0))
    assert comparison.errors == pytest.approx((0.1, 0.0, 0.1))
    assert (comparison.median, comparison.worst) == pytest.approx((0.1, 0.1))
    assert tables.Comparison((1.0, 0.9), (1.0, 0.95)).spearman is None
    assert tables.joined([comparison, comparison]).predicted == comparison.predicted * 2
    assert [tables.quantile((3.0, 1.0, 2.0), share) for share in (0.0, 0.5, 0.75, 1.0)] == [1.0, 2.0, 2.5, 3.0]
    rank = partial(tables.rank_correlation, (1.0, 2.0, 3.0))
    assert (rank((5.0, 6.0, 9.0)), rank((3.0, 2.0, 1.0))) == pytest.approx((1.0, -1.0))


def test_tables_are_markdown() -> None:
    assert tables.markdown(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | --: |\n| x | 1 |\n"
