"""Two processes measure what one does; one that fails, or is gone, ends the run for both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from by_hand import images, one_thread, seeded, stack

import dropcheck
from dropcheck import wire
from dropcheck.measure.distributed import Ranks
from dropcheck.table import MeasuredNorm, ShiftTable

__all__ = ["one_thread", "seeded"]  # fixtures for all of them

HERE = Path(__file__).parent

# Each process writes what came out of each task, a table or an error; in the last task one of them dies.
SCRIPT = """
import datetime, json, os, sys
import torch, torch.distributed as dist
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
sys.path.insert(0, sys.argv[3])
import dropcheck
from dropcheck import wire
from by_hand import images, stack
from test_measure_distributed import Augmented, sharded

def dying(index):
    return images(1)[0] if rank == 0 or index < 3 else os._exit(9)

def attributed():
    return {"table": wire.encode(dropcheck.probe(stack(), Augmented(7), predicted=False, attribute=True))}

def recalibrated():
    net = stack()
    table = dropcheck.recalibrate(net, Augmented(7))
    return {"table": wire.encode(table), "state": [net[i].running_var.tolist() for i in (1, 6, 9)]}

def split():
    return {"table": wire.encode(dropcheck.probe(stack(), sharded(rank), predicted=False))}

def fails():
    dropcheck.probe(stack(), [image[:, :2] if rank else image for image in images(4)])

def dies():
    dropcheck.probe(stack(), (dying(index) for index in range(6)))

dist.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
)
for task in (attributed, recalibrated, split, fails, dies):
    try:
        told = task()
    except dropcheck.MeasurementError as error:
        told = {"error": error.message}
    with open(f"{folder}/{task.__name__}.{rank}.json", "w") as file:
        json.dump(told, file)
"""


class Augmented:
    """Images changed at random whenever they are run over, by numbers drawn on the way."""

    def __init__(self, count: int) -> None:
        self.images = images(count)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (image + torch.randn_like(image) for image in self.images)


def sharded(rank: int) -> Any:
    """A loader that gives every process its own samples already."""
    samples = torch.utils.data.TensorDataset(torch.cat(images(6)))
    sampler = torch.utils.data.DistributedSampler(samples, num_replicas=2, rank=rank, shuffle=False)
    return torch.utils.data.DataLoader(samples, batch_size=16, sampler=sampler)


Told = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What each of two processes told of a task; nothing if it died before."""
    folder, environment = tmp_path_factory.mktemp("two"), {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, "-c", SCRIPT, str(rank), str(folder), str(HERE)] for rank in range(2)]
    running = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        for process in running:
            process.wait(timeout=120)
    finally:
        for process in running:
            process.kill()

    def of(task: str) -> list[dict[str, Any]]:
        files = [folder / f"{task}.{rank}.json" for rank in range(2)]
        return [json.loads(file.read_text()) if file.is_file() else {} for file in files]

    return of


def table_of(told: dict[str, Any]) -> ShiftTable:
    assert "table" in told, told
    return wire.decode(ShiftTable, told["table"])


def numbers(norm: MeasuredNorm) -> list[float | None]:
    """All that was measured."""
    after = None if norm.after is None else norm.after.real_var
    shares = [source.share for source in norm.sources]
    means = (norm.mean_shift, norm.train_mean_shift, norm.delta_error)
    return [*norm.real_var_per_channel, *norm.train_var_per_channel, norm.samples, after, *means, *shares]


def assert_same(one: ShiftTable, other: ShiftTable) -> None:
    assert [norm.name for norm in one] == [norm.name for norm in other]
    assert replace(one, norms=(), processes=1) == replace(other, norms=(), processes=1)
    for mine, theirs in zip(one, other, strict=True):
        for value, expected in zip(numbers(mine), numbers(theirs), strict=True):
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-10, abs=1e-12))


def test_two_processes_measure_what_one_does(told: Told) -> None:
    first, second = told("attributed")
    assert first == second
    alone = dropcheck.probe(stack(), Augmented(7), predicted=False, attribute=True)
    together = table_of(first)
    assert_same(alone, together)
    assert (alone.processes, together.processes, together.batches, together.samples) == (1, 2, 7, 112)
    assert together["9"].delta_error is not None


def test_two_processes_recalibrate_as_one_does(told: Told) -> None:
    first, second = told("recalibrated")
    assert first == second
    net = stack()
    assert_same(dropcheck.recalibrate(net, Augmented(7)), table_of(first))
    for norm, var in zip((1, 6, 9), first["state"], strict=True):
        assert net[norm].running_var.tolist() == pytest.approx(var, rel=1e-6)


def test_data_sharded_already_are_not_sharded_again(told: Told) -> None:
    together = table_of(told("split")[0])
    assert (together.batches, together.samples) == (6, 96)
    alone = dropcheck.probe(stack(), images(6), predicted=False)
    assert together["1"].real_var == pytest.approx(alone["1"].real_var, rel=1e-7)


def test_a_process_that_fails_ends_the_run_for_all(told: Told) -> None:
    first, second = told("fails")
    assert "fails on a batch of 16x2x8x8 float32" in second["error"]
    assert first["error"].startswith("process 1 of 2 failed: forward")


def test_a_process_that_is_gone_ends_the_run(told: Told) -> None:
    first, second = told("dies")
    assert "a process that was measuring too is gone" in first["error"]
    assert second == {}


def test_every_batch_is_dealt_to_one_process() -> None:
    shares = [list(Ranks(rank, 3).share("abcdefgh", limit=7)) for rank in range(3)]
    assert shares == [[(0, "a"), (3, "d"), (6, "g")], [(1, "b"), (4, "e")], [(2, "c"), (5, "f")]]
    assert list(Ranks().share("abc")) == [(0, "a"), (1, "b"), (2, "c")]


def test_the_number_of_batches_is_that_of_all_processes() -> None:
    assert [Ranks(0, 2).total(data, 9) for data in ([0] * 4, [0] * 12, iter([0] * 4))] == [4, 9, 9]
    assert Ranks(0, 2).total(iter([0] * 4), None) is None
    assert (len(sharded(0)), Ranks(0, 2).total(sharded(0), None)) == (3, 6)
