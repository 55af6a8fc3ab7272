"""dropcheck probe: what is measured and reported, how it ends, and what is said of data that do not fit."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from jsonschema import Draft202012Validator
from measured_nets import error_of, furnish, job, ranks, table_of

from dropcheck.result import ErrorKind

PROBE = ("probe", "nets.py:Net", "--weights", "w.pt", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("probe")
    furnish(made)
    return made


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """For measuring in this process, which a worker's child does in its own."""
    before, threads = signal.getsignal(signal.SIGINT), torch.get_num_threads()
    torch.set_num_threads(1)  # the order in which numbers are added up is that of the processes below
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["dropcheck"])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    yield folder
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def dropcheck(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(folder)
    return command


def test_a_norm_that_only_meets_nan_is_not_measured(dropcheck: Command, folder: Path, tmp_path: Path) -> None:
    weights = torch.load(folder / "w.pt", weights_only=True)
    next(value for value in weights.values() if value.is_floating_point()).fill_(torch.nan)
    torch.save(weights, tmp_path / "nan.pt")
    arguments = ("probe", "nets.py:Net", "--weights", str(tmp_path / "nan.pt"), "--device", "cpu", "--data", "data.npz")
    code, out, _ = dropcheck(*arguments)
    assert code == 3
    assert "have no finite statistics" in " ".join(out.split())


# What is reported ------------------------------------------------------------------------------------------------


def test_json_is_that_of_lint_with_what_was_measured(dropcheck: Command, folder: Path) -> None:
    options = ("--data", "data.npz", "--attribute", "--format", "json", "--plot", "shift.svg", "--fail-on", "error")
    code, out, err = dropcheck(*PROBE, *options)
    assert (code, err) == (1, "dropcheck: measuring nets.py:Net\n")
    report = json.loads(out)
    schema = json.loads(files("dropcheck.report").joinpath("schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(report)
    (model,) = report["models"]
    assert (model["target"], model["evidence"], model["input"]) == ("nets.py:Net", "measured", "8x4")
    first, second = report["measurement"]["norms"]
    assert [norm["delta_measured"] for norm in model["norms"]] == [first["delta"], second["delta"]]
    assert first["delta"] == pytest.approx(first["predicted"], rel=0.1)
    assert 0.3 < first["delta"] < 0.6
    assert 0.0 < first["delta_error"] < 0.05
    assert first["shift_ratio"] == pytest.approx(1.0 / first["delta"], rel=0.1)
    assert [source["dropout"] for source in first["sources"]] == ["drop"]
    assert report["measurement"]["samples"] == 512
    assert "DC101" in {finding["code"] for finding in report["findings"]}
    assert (folder / "shift.svg").read_text().startswith("<?xml")


def test_ctrl_c_ends_it_with_what_was_measured(folder: Path) -> None:
    feed = """
        import pathlib, time, torch
        def slow():
            for number in range(1000):
                yield torch.randn(16, 4)
                if number == 2: pathlib.Path("running").touch()
                time.sleep(0.05)
    """
    (folder / "feed.py").write_text("\n".join(line[8:] for line in feed.splitlines()))
    command = [sys.executable, "-m", "dropcheck", *PROBE, "--data", "feed.py:slow", "--batches", "1000"]
    running = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60.0
    while not (folder / "running").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60.0)
    assert running.returncode == 130
    assert out.startswith("Interrupted, so far: nets.py:Net")
    assert "DC101 error drop → bn1: predicted Δ" in out
    assert "Worst of 2 batch norms: bn1, Δ 0." in out
    assert err.splitlines()[-2:] == [
        "dropcheck: stopping after this batch; Ctrl-C again to end at once",
        "dropcheck: interrupted",
    ]


# Several processes -----------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_two_processes_report_once_what_one_would(folder: Path, here: Path) -> None:
    arguments = (*PROBE, "--data", "data.npz", "--batch-size", "64", "--format", "json")
    first, second = ranks(folder, free_port(), *arguments)
    out, err = first.communicate(timeout=120.0)
    assert second.communicate(timeout=120.0) == ("", "")
    assert (first.returncode, second.returncode, err) == (0, 0, "dropcheck: measuring nets.py:Net\n")
    measurement = json.loads(out)["measurement"]
    alone = table_of(job(folder, batches=50))
    assert (measurement["processes"], measurement["samples"]) == (2, alone.samples)
    for norm in measurement["norms"]:
        assert norm["delta"] == pytest.approx(alone[norm["name"]].delta, rel=1e-12)
        assert norm["delta_error"] == pytest.approx(alone[norm["name"]].delta_error, rel=1e-9)


def test_a_process_that_dies_ends_the_run(folder: Path) -> None:
    (folder / "dying.py").write_text(
        "import os, torch\n"
        "def batches():\n"
        "    for number in range(8):\n"
        "        if number == 3 and os.environ['RANK'] == '1': os._exit(9)\n"
        "        yield torch.randn(16, 4)\n"
    )
    arguments = ("recalibrate", *PROBE[1:], "--data", "dying.py:batches", "--output", "new.pt")
    first, second = ranks(folder, free_port(), *arguments)
    out, err = first.communicate(timeout=120.0)
    _, other = second.communicate(timeout=120.0)
    assert (first.returncode, second.returncode, out) == (3, 3, "")
    assert "a process that was measuring too is gone" in err
    assert "ended itself with exit code 9" in other
    assert not [file.name for file in folder.iterdir() if "new.pt" in file.name]


# Wrong usage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--data", "gone.npz"), "--data gone.npz: there is no such file"),
        (("--data", "nets.py"), "--data nets.py: name what gives the batches, as in nets.py:loader"),
        (("--data", "w.txt:x:y"), "--data w.txt:x:y: 'w.txt:x' is neither a file nor a module"),
        (("--data", "."), "--data .: not a file of arrays; expected .npz, .npy, .pt, or a callable"),
        (("--device", "gpu"), "'gpu'; did you mean 'cpu'?"),
        (("--batch-size", "0"), "Invalid value for '--batch-size'"),
        (("--plot", "shift.jpg"), "shift.jpg: a picture ends in .svg or .png, this ends in .jpg"),
        (("--plot", "gone/shift.svg"), "there is no directory gone"),
        (("--output", "gone/report.json"), "there is no directory gone"),
        (("--fail-on", "info"), "'info'; choose from error, warning, never"),
        (("--format", "sarif"), "'sarif'; choose from text, json"),
        (("--weights", "gone.pt"), "there is no file gone.pt"),
    ],
)
def test_wrong_usage_is_told_before_the_work(dropcheck: Command, arguments: tuple[str, ...], complaint: str) -> None:
    code, out, err = dropcheck("probe", "nets.py:Net", *arguments)
    assert (code, out) == (2, "")
    assert complaint in err


def test_a_directory_is_no_target(dropcheck: Command) -> None:
    code, _, err = dropcheck("probe", ".")
    assert code == 2
    assert err == "dropcheck: one model is measured at a time, and . is a directory; name it, as in nets.py:Net\n"


# What does not fit -----------------------------------------------------------------------------------------------


def save(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "other.npz", **arrays)
    return "other.npz"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((8, 5))}, "forward(x) fails on a batch of 8x5 float32: RuntimeError: mat1 and"),
        (
            {"x": np.zeros((8, 4), np.uint8)},
            "forward(x) fails on a batch of 8x4 uint8: RuntimeError: mat1 and",
        ),
        ({"x": np.full((8, 4), np.nan)}, "all 8 samples hold NaN or infinity"),
        ({"x": np.zeros((1, 4))}, "every batch holds a single sample"),
        ({"x": np.zeros((0, 4))}, "other.npz is empty"),
    ],
)
def test_data_that_do_not_fit_are_told(here: Path, arrays: dict[str, Any], message: str) -> None:
    error = error_of(job(here, save(here, **arrays)))
    assert (error.kind, error.path) == (ErrorKind.MEASURE, "nets.py:Net")
    assert message in error.message
    assert error.hint


def test_samples_without_numbers_are_left_out_and_named(here: Path) -> None:
    x = np.random.default_rng(0).normal(size=(256, 4))
    x[7] = np.nan
    table = table_of(job(here, save(here, x=x)))
    assert table.samples == 255
    assert "1 sample held NaN or infinity and was left out" in table.notes


def test_a_model_without_batch_norm_is_told(here: Path) -> None:
    error = error_of(job(here, symbol="Plain"))
    assert error.message == "Plain has no batch norm, so dropout cannot shift one"


def test_a_device_that_is_not_there_is_wrong_usage(here: Path) -> None:
    error = error_of(job(here, device="cuda:99"))
    assert error.kind is ErrorKind.CONFIG
    assert error.message.startswith("--device cuda:99: there is no")


def test_weights_of_another_model_are_told(here: Path, tmp_path: Path) -> None:
    wanted = replace(job(here), call="width=3")
    assert "w.pt does not fit Net(width=3)" in error_of(wanted).message


def test_without_data_it_measures_on_noise_and_says_so(here: Path) -> None:
    table = table_of(job(here, None, batches=12))
    assert (table.data, table.batches, table.samples) == ("synthetic smooth noise", 12, 12 * 64)
    assert any("synthetic" in note and "--data" in note for note in table.notes)
    assert table["bn1"].shift_ratio == pytest.approx(1.0 / (table["bn1"].delta or 0.0), rel=0.15)


def test_untrained_weights_are_named(here: Path) -> None:
    bare = replace(job(here, batches=4), weights=None)
    assert any("weights of initialisation" in note for note in table_of(bare).notes)
    assert not any("initialisation" in note for note in table_of(job(here, batches=4)).notes)


def test_the_seed_settles_everything(here: Path) -> None:
    one, same, other = (table_of(job(here, seed=seed, batches=3)) for seed in (0, 0, 1))
    assert one == same
    assert one["bn1"].delta != other["bn1"].delta


def test_weights_marked_as_recalibrated_are_not_called_mispredicted(here: Path) -> None:
    marked = torch.load(here / "w.pt", weights_only=True)
    marked._metadata = {"": {"dropcheck": {"recalibrated": "both"}}}
    torch.save(marked, here / "marked.pt")
    table = table_of(replace(job(here), weights=str(here / "marked.pt")))
    assert [norm.predicted for norm in table] == [None, None]
    assert any("marked as recalibrated" in note for note in table.notes)
