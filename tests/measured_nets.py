"""A small trained network with data, on disk, shared by the tests of probe and recalibrate."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dropcheck.job import Feed, Job, Measurement
from dropcheck.load.measuring import measured
from dropcheck.result import AnalysisError
from dropcheck.table import ShiftTable

SOURCE = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc1, self.drop, self.bn1 = nn.Linear(4, width), nn.Dropout(0.5), nn.BatchNorm1d(width)
        self.fc2, self.bn2 = nn.Linear(width, width), nn.BatchNorm1d(width)

    def forward(self, x):
        x = self.bn1(self.drop(self.fc1(x).relu()))
        return self.bn2(self.fc2(x))

class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.Dropout(0.5))
"""


class Net(nn.Module):
    """What SOURCE defines."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc1, self.drop, self.bn1 = nn.Linear(4, width), nn.Dropout(0.5), nn.BatchNorm1d(width)
        self.fc2, self.bn2 = nn.Linear(width, width), nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.drop(self.fc1(x).relu()))
        out: Tensor = self.bn2(self.fc2(x))
        return out


def furnish(folder: Path) -> None:
    """Puts nets.py, data.npz (x, y) and w.pt there, whose statistics are those of training on the data."""
    torch.manual_seed(0)
    x = torch.randn(512, 4)
    (folder / "nets.py").write_text(SOURCE)
    np.savez(folder / "data.npz", x=x.numpy(), y=np.arange(512))
    net = Net()
    with torch.no_grad():
        for _ in range(20):
            for batch in x.split(64):
                net(batch)
    torch.save(net.state_dict(), folder / "w.pt")


def job(folder: Path, data: str | None = "data.npz", symbol: str = "Net", **wanted: object) -> Job:
    """The job to measure nets.py with w.pt on a file of arrays."""
    feed = None if data is None else Feed(data, str(folder / data))
    measurement = Measurement(**{"feed": feed, "batch_size": 64, "device": "cpu", **wanted})  # type: ignore[arg-type]
    weights = str(folder / "w.pt") if symbol == "Net" else None
    return Job("nets.py", str(folder / "nets.py"), symbol=symbol, weights=weights, measurement=measurement)


def table_of(job: Job) -> ShiftTable:
    """What is measured in this very process."""
    told = list(measured(job))
    assert not [one for one in told if isinstance(one, AnalysisError)]
    (table,) = (one for one in told if isinstance(one, ShiftTable))
    return table


def error_of(job: Job) -> AnalysisError:
    """What is said of a job that cannot be measured."""
    told = list(measured(job))
    assert not [one for one in told if isinstance(one, ShiftTable)]
    return next(one for one in told if isinstance(one, AnalysisError))


def ranks(folder: Path, port: int, *arguments: str, world: int = 2) -> Iterator[subprocess.Popen[str]]:
    """The same command in every process, as torchrun starts them."""
    for rank in range(world):
        environment = {
            **os.environ,
            **{"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        }
        command = [sys.executable, "-m", "dropcheck", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        yield subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload]
