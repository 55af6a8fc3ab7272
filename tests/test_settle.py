"""Running statistics for synthetic data: those of training on them, not those of the weights."""

from __future__ import annotations

import pytest
import torch
from measured_nets import Net
from torch import nn

from dropcheck.capture import ExampleInput
from dropcheck.load.data import Synthetic
from dropcheck.load.failure import LoadError
from dropcheck.load.settle import is_untrained, settled_on
from dropcheck.measure.api import probe

NOISE = Synthetic(ExampleInput((torch.zeros(2, 4),)), 32)


def test_statistics_become_those_of_the_data_and_nothing_else_changes() -> None:
    net = Net().eval()
    net.bn1.running_var = torch.full((8,), 1e6)
    weights = {key: value.clone() for key, value in net.state_dict().items() if "running" not in key}
    assert settled_on(net, NOISE)
    assert net.bn1.running_var.max() < 100.0
    assert (net.training, net.bn1.momentum) == (False, 0.1)
    assert all(torch.equal(net.state_dict()[key], weights[key]) for key in weights if "tracked" not in key)


def test_a_frozen_norm_keeps_its_statistics() -> None:
    net = Net()
    net.bn1.eval()
    settled_on(net, NOISE)
    assert torch.equal(net.bn1.running_var, torch.ones(8))
    assert not torch.equal(net.bn2.running_var, torch.ones(8))
    assert (net.training, net.bn1.training) == (True, False)


def test_without_norms_there_is_nothing_to_say() -> None:
    assert settled_on(nn.Linear(4, 4), NOISE) == ()


def test_a_forward_that_fails_is_told() -> None:
    with pytest.raises(LoadError, match="its forward fails on synthetic noise: RuntimeError: mat1"):
        settled_on(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), NOISE)


def test_only_new_statistics_count_as_untrained() -> None:
    net = Net()
    assert is_untrained(net)
    settled_on(net, NOISE)
    assert not is_untrained(net)
    assert not is_untrained(nn.Linear(4, 4))


def test_a_live_model_on_noise_is_measured_with_statistics_of_noise() -> None:
    net = Net()
    net.bn1.running_var = torch.full((8,), 1e6)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    table = probe(net, example_input=torch.zeros(2, 4), max_batches=8, predicted=False)
    assert table["bn1"].shift_ratio is not None
    assert table["bn1"].shift_ratio < 4.0
    assert any("synthetic" in note for note in table.notes)
    assert all(torch.equal(net.state_dict()[key], state[key]) for key in state)
