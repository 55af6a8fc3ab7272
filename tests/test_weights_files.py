"""Files of trained weights: formats, wrappings, what does not fit, what is refused."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command
from hypothesis import given
from hypothesis import strategies as st
from test_api import same
from torch import nn
from torch.optim.swa_utils import AveragedModel
from trained_net import (
    SOURCE,
    State,
    lint,
    one_thread,
    saved_as_safetensors,
    state,
    trained,
    without,
)

from dropcheck.load.checkpoint import unwrapped
from dropcheck.load.failure import LoadError
from dropcheck.load.weights import fit

__all__ = ["lint", "one_thread", "state", "trained"]  # fixtures for all of them


def saved_by_torch(state: State, name: str) -> None:
    torch.save(state, name)


def saved_in_the_old_format(state: State, name: str) -> None:
    torch.save(state, name, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("save", "name"),
    [(saved_in_the_old_format, "old.pth"), (saved_by_torch, "new.ckpt"), (saved_as_safetensors, "net.safetensors")],
)
def test_every_format_says_the_same(lint: Command, state: State, save: Callable[[State, str], None], name: str) -> None:
    save(state, name)
    wanted = lint("nets.py", "--weights", "trained.pt", "--format", "json").model
    assert lint("nets.py", "--weights", name, "--format", "json").model == wanted


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nets.py:Net", "--weights", "absent.pt"], "'--weights': there is no file absent.pt"),
        (["nets.py:Net", "--weights", "."], "'--weights': . is a directory"),
        (
            ["nets.py", "nets.py:Net", "--weights", "trained.pt"],
            "weights belong to one model, and 2 are given; name it",
        ),
        (
            [".", "--weights", "trained.pt"],
            "weights belong to one model, and . is a directory; name it, as in nets.py:Net",
        ),
        (["--weights", "trained.pt"], "weights belong to one model, and . is a directory"),
        (["several.py", "--weights", "trained.pt"], "several.py: config error: … and this file has 2 … several.py:A"),
        (["none.py", "--weights", "trained.pt"], "none.py: config error: … this file has none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_answered_in_one_line(lint: Command, arguments: list[str], complaint: str) -> None:
    Path("none.py").write_text("def area(side):\n    return side**2\n", encoding="utf-8")
    Path("several.py").write_text(
        "from torch import nn\n\na = nn.Sequential(nn.Linear(2, 3))\n\n\nclass A(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(3, 3)\n",
        encoding="utf-8",
    )
    answer = lint(*arguments)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert all(part in answer.err for part in complaint.split(" … "))


class Hostile:
    """A pickle of it runs a command when it is loaded the careless way."""

    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def scripted() -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.ReLU())


REFUSED: Mapping[str, tuple[Callable[[Path, State], object], str]] = {
    "hostile.pt": (
        lambda file, state: torch.save({**state, "fc1.weight": Hostile()}, file),
        "hostile.pt is no plain state dict: its pickle asks for posix.system, refused … torch.save(model.state_dict()",
    ),
    "hostile.pth": (
        lambda file, state: torch.save({"a": Hostile()}, file, _use_new_zipfile_serialization=False),
        "its pickle asks for posix.system, refused",
    ),
    "hostile.bin": (
        lambda file, state: file.write_bytes(pickle.dumps(Hostile())),
        "no state dict as torch.save writes it",
    ),
    "whole.pt": (
        lambda file, state: torch.save(nn.Linear(2, 2), file),
        "whole.pt is no plain state dict: its pickle asks for torch.nn.modules.linear.Linear, refused … save the state",
    ),
    "scripted.pt": (
        lambda file, state: scripted().save(file),
        "scripted.pt is a TorchScript archive, no state dict … torch.jit.load(FILE).state_dict()",
    ),
    "list.pt": (lambda file, state: torch.save([state["fc1.bias"]], file), "list.pt is a list, no state dict"),
    "empty.pt": (lambda file, state: torch.save({}, file), "empty.pt holds no tensors: it is empty"),
    "optimizer.pt": (
        lambda file, state: torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, file),
        "optimizer.pt holds no tensors: its entries are 'epoch', 'optimizer'",
    ),
    "nothing.pt": (lambda file, state: file.touch(), "nothing.pt is damaged, or no file of weights at all (EOFError"),
    "text.pt": (
        lambda file, state: file.write_text("weights"),
        "text.pt is no state dict as torch.save writes it … expected .pt",
    ),
    "half.pt": (
        lambda file, state: file.write_bytes(Path("trained.pt").read_bytes()[:2000]),
        "half.pt is damaged, or no file of weights at all … expected .pt, .pth, .bin or .ckpt",
    ),
    "half.safetensors": (lambda file, state: file.write_bytes(b"\x10"), "half.safetensors is damaged"),
    "sparse.pt": (
        lambda file, state: torch.save({**state, "fc1.weight": state["fc1.weight"].to_sparse()}, file),
        "sparse.pt holds tensors that are sparse, quantized or without values: fc1.weight",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_state_dict_is_refused_and_never_run(lint: Command, state: State, name: str) -> None:
    write, complaint = REFUSED[name]
    write(Path(name), state)
    answer = lint("nets.py:Net", "--weights", name)
    assert answer.code == 3
    assert not Path("pwned").exists()
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("nets.py:Net: construct error: ")
    assert all(part in answer.err for part in complaint.split(" … "))


def test_a_format_whose_package_is_missing_says_what_to_install(lint: Command, state: State) -> None:
    saved_as_safetensors(state, "net.safetensors")
    Path("nets.py").write_text(f"import sys\nsys.modules['safetensors'] = None\n{SOURCE}", encoding="utf-8")
    answer = lint("nets.py", "--weights", "net.safetensors")
    assert answer.code == 3
    assert "needs the package safetensors (pip install 'dropcheck[weights]')" in answer.err


MISFITS: Mapping[str, tuple[Callable[[State], State], str]] = {
    "missing": (
        lambda state: without(state, "head.weight", "head.bias"),
        "does not fit Net: missing head.weight, head.bias … nothing is loaded in part",
    ),
    "unexpected": (lambda state: {**state, "aux.weight": torch.ones(2)}, "does not fit Net: unexpected aux.weight"),
    "reshaped": (
        lambda state: {**state, "head.weight": torch.ones(10, 32), "head.bias": torch.ones(10)},
        "of another shape head.weight (10x32, not 4x32), head.bias (10, not 4)",
    ),
    "misspelt": (
        lambda state: {key.replace("fc2", "fc_2"): value for key, value in state.items()},
        "missing fc2.weight, fc2.bias; unexpected fc_2.weight, fc_2.bias … closest to fc2.weight is fc_2.weight;",
    ),
    "many": (
        lambda state: {"fc1.bias": state["fc1.bias"]},
        "missing fc1.weight, bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var and 8 more",
    ),
    "foreign": (
        lambda state: {f"encoder.{number}.weight": torch.ones(2) for number in range(7)},
        "none of its keys is the model's; it holds encoder.0.weight, … and 2 more, the model wants fc1.weight,",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_weights_that_do_not_fit_name_the_keys(lint: Command, state: State, misfit: str) -> None:
    change, complaint = MISFITS[misfit]
    torch.save(change(state), "other.pt")
    answer = lint("nets.py:Net", "--weights", "other.pt")
    assert answer.code == 3
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("nets.py:Net: construct error: other.pt does not fit Net: ")
    assert all(part in answer.err for part in complaint.split(" … "))


WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "ema", "module")


PREFIXES = ("module.", "model.", "net.", "_orig_mod.", "backbone.")


@given(st.lists(st.sampled_from(WRAPPERS), max_size=3), st.lists(st.sampled_from(PREFIXES), max_size=3))
def test_wrappers_and_prefixes_come_off(wrappers: list[str], prefixes: list[str]) -> None:
    plain = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    found: Any = {"".join(prefixes) + key: value for key, value in plain.items()}
    for key in reversed(wrappers):
        found = {"epoch": 3, "optimizer": {"lr": 0.1}, key: found}
    checkpoint = unwrapped("net.pt", found)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    said = fit(model, checkpoint, "Net")
    assert same(dict(model.state_dict()), dict(plain))
    without = f" without {''.join(prefixes)!r}" if prefixes else ""
    assert said == "net.pt" + "".join(f"[{key!r}]" for key in wrappers) + without


def test_a_name_that_is_the_models_own_is_no_prefix() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 3)

    saved = {f"module.{key}": value for key, value in Whole().state_dict().items()}
    model = Whole()
    assert fit(model, unwrapped("net.pt", saved), "Whole") == "net.pt without 'module.'"
    assert torch.equal(model.model.weight, saved["module.model.weight"])


def test_averaged_half_tied_and_lazy_weights_fit() -> None:
    averaged = AveragedModel(nn.Linear(2, 3))
    assert fit(nn.Linear(2, 3), unwrapped("swa.pt", averaged.state_dict()), "Linear") == "swa.pt without 'module.'"

    halved = nn.Linear(2, 3)
    fit(halved, unwrapped("half.pt", {key: value.half() for key, value in nn.Linear(2, 3).state_dict().items()}), "")
    assert halved.weight.dtype is torch.float32

    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    fit(tied, unwrapped("tied.pt", without(tied.state_dict(), "1.weight")), "Tied")

    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    fit(lazy, unwrapped("lazy.pt", nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()), "Lazy")
    assert lazy(torch.ones(4, 2)).shape == (4, 3)


def test_a_count_of_batches_may_be_missing_and_nothing_else() -> None:
    saved = nn.BatchNorm1d(3).state_dict()
    fit(nn.BatchNorm1d(3), unwrapped("old.pt", without(saved, "num_batches_tracked")), "Norm")
    with pytest.raises(LoadError, match="missing running_var"):
        fit(nn.BatchNorm1d(3), unwrapped("old.pt", without(saved, "running_var")), "Norm")
