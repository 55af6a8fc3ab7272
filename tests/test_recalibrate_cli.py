"""dropcheck recalibrate: which numbers change in which file, and that nothing is written where it should not be."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from measured_nets import Net, furnish, job
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dropcheck.load.checkpoint import read
from dropcheck.load.failure import LoadError
from dropcheck.load.measuring import measured
from dropcheck.load.save import statistics_to_write, write_recalibrated

RECALIBRATE = ("recalibrate", "nets.py:Net", "--data", "data.npz", "--device", "cpu")
MARK = {"recalibrated": "both"}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recalibrate")
    furnish(made)
    return made


@pytest.fixture
def folder(furnished: Path, tmp_path: Path) -> Path:
    for file in ("nets.py", "data.npz", "w.pt"):
        (tmp_path / file).write_bytes((furnished / file).read_bytes())
    return tmp_path


@pytest.fixture
def dropcheck(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(folder)
    return command


def loaded(file: Path) -> Any:
    return torch.load(file, weights_only=True)


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


STATISTICS = {"bn1.running_mean", "bn1.running_var", "bn2.running_mean", "bn2.running_var"}


# From the command line ------------------------------------------------------------------------------------------


def test_a_new_file_is_written_and_its_shift_is_gone(dropcheck: Command, folder: Path) -> None:
    (folder / "w.pt").chmod(0o640)
    before = (folder / "w.pt").read_bytes()
    code, out, err = dropcheck(*RECALIBRATE, "--weights", "w.pt", "--output", "new.pt")
    assert (code, err) == (0, "dropcheck: recalibrating nets.py:Net\n")
    assert (folder / "w.pt").read_bytes() == before
    assert out.startswith("w.pt recalibrated on data.npz (512 samples in 8 batches on cpu): written to\nnew.pt\n")
    rows = [line.split() for line in out.splitlines() if line.startswith(" bn")]
    assert [row[0] for row in rows] == ["bn1", "bn2"]
    assert float(rows[0][1]) < 0.6
    assert all(float(row[2]) == pytest.approx(1.0, abs=0.02) for row in rows)
    assert stat.S_IMODE((folder / "new.pt").stat().st_mode) == 0o640
    assert sorted(file.name for file in folder.iterdir() if file.name[0] == ".") == []
    assert changed(loaded(folder / "w.pt"), loaded(folder / "new.pt")) == STATISTICS
    code, out, _ = dropcheck("lint", "nets.py:Net", "--weights", "new.pt", "--select", "DC101")
    assert (code, "DC101" in out) == (0, False)


def test_in_place_a_link_stays_one(dropcheck: Command, folder: Path) -> None:
    save_file(loaded(folder / "w.pt"), folder / "w.safetensors", metadata={"format": "pt"})
    (folder / "link.safetensors").symlink_to("w.safetensors")
    code, _, _ = dropcheck(*RECALIBRATE, "--weights", "link.safetensors", "--in-place", "--stat", "var", "--quiet")
    assert code == 0
    assert (folder / "link.safetensors").is_symlink()
    assert changed(loaded(folder / "w.pt"), load_file(folder / "w.safetensors")) == {
        key for key in STATISTICS if key.endswith("var")
    }
    with safe_open(folder / "w.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "dropcheck": "recalibrated: var"}


def test_where_it_fails_nothing_is_written(dropcheck: Command, folder: Path) -> None:
    (folder / "old.pt").write_bytes(b"old")
    torch.save(torch.zeros(8, 5), folder / "wrong.pt")
    arguments = ("recalibrate", "nets.py:Net", "--weights", "w.pt", "--data", "wrong.pt", "--output", "old.pt")
    code, out, err = dropcheck(*arguments, "--device", "cpu")
    assert (code, out) == (3, "")
    assert "forward(x) fails on a batch of 8x5 float32" in err
    assert (folder / "old.pt").read_bytes() == b"old"
    assert {file.name for file in folder.iterdir() if file.is_file()} == {
        "nets.py",
        "data.npz",
        "w.pt",
        "old.pt",
        "wrong.pt",
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "name the file to write with --output FILE, or write over the weights with --in-place"),
        (("--in-place", "--output", "new.pt"), "--in-place and --output exclude each other"),
        (("--output", "w.pt"), "--output w.pt is the file of --weights; to write over it, say --in-place instead"),
        (("--output", "../{name}/w.pt"), "is the file of --weights"),
        (("--output", "symbolic.pt"), "--output symbolic.pt is the file of --weights"),
        (("--output", "hard.pt"), "--output hard.pt is the file of --weights"),
        (("--output", "new.safetensors"), "the format stays that of w.pt; expected a name with .pt"),
        (("--output", "gone/new.pt"), "there is no directory gone"),
        (("--output", "new.pt", "--stat", "mean"), "'mean'; choose from both, var"),
    ],
)
def test_what_would_write_over_the_input_is_refused(
    dropcheck: Command, folder: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    (folder / "symbolic.pt").symlink_to("w.pt")
    os.link(folder / "w.pt", folder / "hard.pt")
    before = (folder / "w.pt").read_bytes()
    given = [one.replace("{name}", folder.name) for one in arguments]
    code, out, err = dropcheck(*RECALIBRATE, "--weights", "w.pt", *given)
    assert (code, out) == (2, "")
    assert complaint in err
    assert (folder / "w.pt").read_bytes() == before


def test_data_and_weights_have_to_be_given(dropcheck: Command) -> None:
    assert "Missing option '--data'" in dropcheck("recalibrate", "nets.py:Net", "--weights", "w.pt")[2]
    assert "Missing option '--weights'" in dropcheck("recalibrate", "nets.py:Net", "--data", "data.npz")[2]


def test_stopped_it_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["dropcheck"])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    before = signal.getsignal(signal.SIGINT)
    heard: list[Any] = []
    try:
        for told in measured(job(folder, recalibrate="both", draft=str(folder / "new.pt"))):
            heard.append(told)
            if getattr(told, "done", 0) == 2:
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not heard[-1].complete
    assert heard[-1].batches == 2
    assert not (folder / "new.pt").exists()


# What is in the file ---------------------------------------------------------------------------------------------


def rewritten(source: Path, stat: Any = "both") -> Path:
    """The file with every running statistic doubled."""
    model = Net()
    found = read(str(source))
    names = {key.rpartition("module.")[2]: tensor for key, tensor in found.tensors.items()}
    model.load_state_dict(
        {key: 2 * one.float() if "running" in key else one for key, one in names.items()}, strict=False
    )
    target = source.with_name(f"new{source.suffix}")
    write_recalibrated(str(source), str(target), statistics_to_write(found, model), stat)
    return target


def test_the_mark_survives_and_a_model_still_loads_it(folder: Path) -> None:
    state = loaded(rewritten(folder / "w.pt"))
    assert state._metadata[""] == {"version": 1, "dropcheck": MARK}
    assert state._metadata["bn1"] == {"version": 2}
    assert read(str(folder / "new.pt")).recalibrated == "both"
    model = Net()
    assert str(model.load_state_dict(state)) == "<All keys matched successfully>"
    assert "dropcheck" not in str(model.state_dict()._metadata)  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [dict, OrderedDict])
def test_a_state_dict_without_metadata_is_marked_too(folder: Path, make: Callable[[Any], Any]) -> None:
    torch.save(make(loaded(folder / "w.pt").items()), folder / "bare.pt")
    state = loaded(rewritten(folder / "bare.pt", "var"))
    assert state._metadata == {"": {"dropcheck": {"recalibrated": "var"}}}
    assert changed(loaded(folder / "bare.pt"), state) == STATISTICS


def test_everything_else_in_a_checkpoint_stays(folder: Path) -> None:
    state = loaded(folder / "w.pt")
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(8, 4)}}, "param_groups": [{"lr": 0.1}]}
    whole = {
        "epoch": 7,
        "best": (0.5, None, "x"),
        "state_dict": OrderedDict((f"module.{key}", tensor) for key, tensor in state.items()),
        "optimizer": optimizer,
    }
    torch.save(whole, folder / "whole.pt")
    again = loaded(rewritten(folder / "whole.pt"))
    assert list(again) == list(whole)
    assert (again["epoch"], again["best"]) == (7, (0.5, None, "x"))
    assert str(again["optimizer"]) == str(whole["optimizer"])
    assert changed(whole["state_dict"], again["state_dict"]) == {f"module.{key}" for key in STATISTICS}
    assert again["state_dict"]._metadata[""]["dropcheck"] == MARK


def test_shared_and_half_precision_tensors_stay_so(folder: Path) -> None:
    state = {key: one.half() if one.is_floating_point() else one for key, one in loaded(folder / "w.pt").items()}
    state["tied"] = state["fc1.weight"]
    torch.save(state, folder / "half.pt")
    again = loaded(rewritten(folder / "half.pt"))
    assert {again[key].dtype for key in STATISTICS} == {torch.float16}
    assert again["tied"].data_ptr() == again["fc1.weight"].data_ptr()


def test_a_number_too_large_for_its_precision_is_refused(folder: Path) -> None:
    state = loaded(folder / "w.pt")
    state["bn1.running_var"] = torch.full((8,), 60000.0, dtype=torch.float16)
    torch.save(state, folder / "half.pt")
    with pytest.raises(LoadError, match=r"half\.pt holds bn1\.running_var as torch\.float16, too small"):
        rewritten(folder / "half.pt")


def test_the_old_format_of_torch_stays(folder: Path) -> None:
    torch.save(loaded(folder / "w.pt"), folder / "old.pt", _use_new_zipfile_serialization=False)
    new = rewritten(folder / "old.pt")
    assert new.read_bytes()[:2] != b"PK"
    assert changed(loaded(folder / "old.pt"), loaded(new)) == STATISTICS


def test_a_file_is_the_same_whatever_it_is_called(folder: Path) -> None:
    first = rewritten(folder / "w.pt").read_bytes()
    (folder / "other.pt").write_bytes((folder / "w.pt").read_bytes())
    assert rewritten(folder / "other.pt").read_bytes() == first


def test_safetensors_keep_their_header(folder: Path) -> None:
    save_file(loaded(folder / "w.pt"), folder / "w.safetensors", metadata={"author": "someone"})
    new = rewritten(folder / "w.safetensors")
    with safe_open(new, framework="pt") as file:
        assert file.metadata() == {"author": "someone", "dropcheck": "recalibrated: both"}
    assert changed(loaded(folder / "w.pt"), load_file(new)) == STATISTICS


def test_a_file_that_cannot_be_read_in_whole_is_refused(folder: Path) -> None:
    torch.save({"state_dict": loaded(folder / "w.pt"), "config": Path("x")}, folder / "odd.pt")
    with pytest.raises(LoadError, match="its pickle asks for pathlib"):
        read(str(folder / "odd.pt"))
