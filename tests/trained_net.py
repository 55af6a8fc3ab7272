"""A small trained network, its weights, and linting with them as from the command line, for several files of tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from torch import Tensor, nn

from dropcheck.result import Report
from dropcheck.worker import Worker

SOURCE = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 32, classes: int = 4):
        super().__init__()
        self.fc1, self.bn1 = nn.Linear(16, width), nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)
        self.fc2, self.bn2 = nn.Linear(width, width), nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.drop(self.bn1(self.fc1(x)).relu())
        return self.head(self.bn2(self.fc2(x)).relu())
"""
SCOPE: dict[str, Any] = {"__name__": "nets"}
exec(SOURCE, SCOPE)
Net: Callable[..., nn.Module] = SCOPE["Net"]
State = dict[str, Tensor]


def blobs() -> tuple[Tensor, Tensor]:
    """Points of four classes, ``(2048, 16)``, and their labels."""
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (2048,), generator=random)
    centres, spread = torch.randn(4, 16, generator=random), torch.randn(2048, 16, generator=random)
    return 2.0 * centres[labels] + spread, labels


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """The network of SOURCE, trained on blobs."""
    torch.manual_seed(0)
    model = Net()
    inputs, labels = blobs()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        batch = torch.randint(0, 2048, (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    return model


@pytest.fixture
def state(trained: nn.Module) -> State:
    return {key: tensor.detach().clone() for key, tensor in trained.state_dict().items()}


@pytest.fixture
def lint(command: Command, worker: Worker, monkeypatch: pytest.MonkeyPatch, state: State) -> Command:
    """``dropcheck lint`` in a directory with ``nets.py`` and its ``trained.pt``; all tests share one worker process."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("dropcheck.run.Worker", lambda **_: nullcontext(worker))
    Path("nets.py").write_text(SOURCE, encoding="utf-8")
    torch.save(state, "trained.pt")
    return partial(command, "lint")


def delta(model: Any, norm: str) -> float | None:
    found: float | None = next(one["delta"] for one in model["norms"] if one["name"] == norm)
    return found


def measured(model: nn.Module, norm: str) -> float:
    """Δ by the three steps of Li et al. 2019, section 4: variances at the norm with dropout on and off."""
    seen: list[Tensor] = []
    hook = model.get_submodule(norm).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    train_var = model.get_submodule(norm).running_var.clone()
    with torch.no_grad():
        model.eval()(blobs()[0])
    hook.remove()
    model.train()
    return float(seen[0].var(0).mean() / train_var.mean())


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The model is small: on a busy machine several threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def norms(report: Report) -> dict[str, float | None]:
    (model,) = report.models
    return {norm.name: norm.delta for norm in model.norms}


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


def saved_as_safetensors(state: State, name: str) -> None:
    from safetensors.torch import save_file

    save_file(state, name)
