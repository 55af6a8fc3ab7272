"""Trained weights, from the command line and from Python: what they change, and what is said of those of no use."""

from __future__ import annotations

import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_api import everything, same
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import dropcheck
from dropcheck.cli import main
from dropcheck.load.checkpoint import unwrapped
from dropcheck.load.failure import LoadError
from dropcheck.load.weights import fit
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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Net()
    inputs, labels = blobs()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        batch = torch.randint(0, 2048, (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return model


@pytest.fixture
def state(trained: nn.Module) -> State:
    return {key: tensor.detach().clone() for key, tensor in trained.state_dict().items()}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(timeout=60.0) as one:
        yield one


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def model(self) -> Any:
        """The one model of a JSON report."""
        (model,) = (model for model in json.loads(self.out)["models"] if model["status"] != "skipped")
        return model


Lint = Callable[..., Answer]


@pytest.fixture
def lint(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], state: State
) -> Lint:
    """``dropcheck lint`` in a directory with ``nets.py`` and its ``trained.pt``; all tests share one worker process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("dropcheck.run.Worker", lambda **_: nullcontext(worker))
    Path("nets.py").write_text(SOURCE, encoding="utf-8")
    torch.save(state, "trained.pt")

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["dropcheck", "lint", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return Answer(int(stop.value.code or 0), *capfd.readouterr())

    return run


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


def test_weights_make_the_prediction_theirs(lint: Lint, trained: nn.Module) -> None:
    answer = lint("nets.py", "--weights", "trained.pt", "--format", "json")
    assert (answer.code, answer.err) == (1, "")
    model = answer.model
    assert (model["evidence"], model["reason"], model["target"]) == ("weights", None, "nets.py:Net")
    (shifted,) = (norm for norm in model["norms"] if norm["name"] == "bn2")
    assert shifted["delta"] == pytest.approx(measured(trained, "bn2"), rel=0.1)
    assert [source["dropout"] for source in shifted["sources"]] == ["drop"]
    assert sum(source["share"] for source in shifted["sources"]) == pytest.approx(1.0)
    findings = json.loads(answer.out)["findings"]
    assert {finding["evidence"] for finding in findings if finding["norm"] and finding["delta"]} == {"weights"}


def test_a_target_and_a_file_with_one_model_are_the_same(lint: Lint) -> None:
    both = [lint(one, "--weights", "trained.pt", "--format", "json") for one in ("nets.py", "nets.py:Net(32)")]
    assert both[0].model["norms"] == both[1].model["norms"]


def saved_by_torch(state: State, name: str) -> None:
    torch.save(state, name)


def saved_in_the_old_format(state: State, name: str) -> None:
    torch.save(state, name, _use_new_zipfile_serialization=False)


def saved_as_safetensors(state: State, name: str) -> None:
    from safetensors.torch import save_file

    save_file(state, name)


@pytest.mark.parametrize(
    ("save", "name"),
    [(saved_in_the_old_format, "old.pth"), (saved_by_torch, "new.ckpt"), (saved_as_safetensors, "net.safetensors")],
)
def test_every_format_says_the_same(lint: Lint, state: State, save: Callable[[State, str], None], name: str) -> None:
    save(state, name)
    wanted = lint("nets.py", "--weights", "trained.pt", "--format", "json").model
    assert lint("nets.py", "--weights", name, "--format", "json").model == wanted


def test_how_weights_were_read_is_for_verbose(lint: Lint, state: State) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, "wrapped.pt")
    text = lint("nets.py", "--weights", "wrapped.pt", "--verbose").out
    assert "weights wrapped.pt['state_dict'] without 'module.', 8 operations, evidence weights" in text
    assert "wrapped.pt" not in lint("nets.py", "--weights", "wrapped.pt").out


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
def test_wrong_usage_is_answered_in_one_line(lint: Lint, arguments: list[str], complaint: str) -> None:
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
def test_what_is_no_state_dict_is_refused_and_never_run(lint: Lint, state: State, name: str) -> None:
    write, complaint = REFUSED[name]
    write(Path(name), state)
    answer = lint("nets.py:Net", "--weights", name)
    assert answer.code == 3
    assert not Path("pwned").exists()
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("nets.py:Net: construct error: ")
    assert all(part in answer.err for part in complaint.split(" … "))


def test_a_format_whose_package_is_missing_says_what_to_install(lint: Lint, state: State) -> None:
    saved_as_safetensors(state, "net.safetensors")
    Path("nets.py").write_text(f"import sys\nsys.modules['safetensors'] = None\n{SOURCE}", encoding="utf-8")
    answer = lint("nets.py", "--weights", "net.safetensors")
    assert answer.code == 3
    assert "needs the package safetensors (pip install 'dropcheck[weights]')" in answer.err


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


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
def test_weights_that_do_not_fit_name_the_keys(lint: Lint, state: State, misfit: str) -> None:
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


@pytest.mark.parametrize("counted", [True, False])
def test_an_untrained_checkpoint_is_said_and_not_used(lint: Lint, counted: bool) -> None:
    fresh = Net().state_dict()
    torch.save({key: value for key, value in fresh.items() if counted or "batches" not in key}, "fresh.pt")
    reason = "fresh.pt holds the batch norm statistics of an untrained network (means 0, variances 1): predicted from"
    model = lint("nets.py", "--weights", "fresh.pt", "--format", "json").model
    assert (model["evidence"], model["norms"]) == ("prior", lint("nets.py", "--format", "json").model["norms"])
    assert model["reason"].startswith(reason)
    for form in ("text", "concise", "github", "sarif"):
        assert reason in lint("nets.py", "--weights", "fresh.pt", "--format", form).out


SICK: Mapping[str, tuple[str, slice, float, str]] = {
    "nan": ("bn2.running_var", slice(3), float("nan"), "NaN or infinite statistics in 3 of 32 channels of 'bn2'"),
    "infinite": ("bn2.running_mean", slice(1), float("inf"), "NaN or infinite statistics in 1 of 32 channels of 'bn2'"),
    "negative": ("bn2.running_var", slice(2), -1.0, "NaN or infinite statistics in 2 of 32 channels of 'bn2'"),
    "dead": ("bn2.running_var", slice(4), 0.0, "zero variance in 4 of 32 channels of 'bn2'"),
    "upstream": ("bn1.running_var", slice(2), float("nan"), "NaN or infinite statistics in 2 of 32 channels of 'bn1'"),
    "all dead": ("bn2.running_var", slice(None), 0.0, "zero variance in 32 of 32 channels of 'bn2'"),
    "weights": ("fc1.weight", slice(2), float("nan"), "NaN or infinite weights in 'fc1.weight'"),
}


@pytest.mark.parametrize("sickness", SICK)
def test_statistics_that_say_nothing_are_named_and_left_out(lint: Lint, state: State, sickness: str) -> None:
    key, channels, value, said = SICK[sickness]
    healthy = delta(lint("nets.py", "--weights", "trained.pt", "--format", "json").model, "bn2")
    state[key][channels] = value
    torch.save(state, "sick.pt")
    answer = lint("nets.py", "--weights", "sick.pt", "--format", "json")
    assert answer.code in (0, 1)
    assert "NaN" not in answer.out.replace(said, "")
    assert said in answer.model["reason"]
    found = delta(answer.model, "bn2")
    if sickness in ("all dead", "weights"):
        assert found is None
        assert "1 batch norm" in lint("nets.py", "--weights", "sick.pt").out or sickness == "weights"
    else:
        assert found == pytest.approx(healthy, rel=0.15)


def test_a_norm_that_was_never_trained_is_named_and_not_judged(lint: Lint, state: State) -> None:
    state["bn2.running_mean"].zero_()
    state["bn2.running_var"].fill_(1.0)
    torch.save(state, "part.pt")
    answer = lint("nets.py", "--weights", "part.pt", "--format", "json")
    assert (answer.model["evidence"], delta(answer.model, "bn2")) == ("weights", None)
    assert answer.model["reason"] == "left out: untrained statistics in 'bn2'"
    assert delta(answer.model, "bn1") is not None


def test_a_model_that_cannot_be_run_keeps_the_prediction_from_its_code(lint: Lint, state: State) -> None:
    stubborn = SOURCE.replace(
        "x = self.drop(",
        "if x.shape[0] != 2 and self.fc1.bias.abs().sum() > 0: raise ValueError('two!')\n        x = self.drop(",
    )
    Path("nets.py").write_text(stubborn, encoding="utf-8")
    answer = lint("nets.py", "--weights", "trained.pt", "--format", "json")
    assert answer.code == 3
    assert answer.model["evidence"] == "prior"
    assert "two!" in answer.err


def norms(report: Report) -> dict[str, float | None]:
    (model,) = report.models
    return {norm.name: norm.delta for norm in model.norms}


def test_a_trained_live_model_is_judged_by_its_own_weights(lint: Lint, trained: nn.Module) -> None:
    wanted = lint("nets.py", "--weights", "trained.pt", "--format", "json").model
    trained.train()
    before = everything(trained)
    report = dropcheck.lint(trained)
    assert same(everything(trained), before)
    (model,) = report.models
    assert (model.evidence, model.reason, model.weights) == ("weights", None, None)
    assert norms(report) == {norm["name"]: pytest.approx(norm["delta"], rel=0.05) for norm in wanted["norms"]}
    assert [len(norm.delta_per_channel) for norm in model.norms] == [32, 32]
    var = trained.get_submodule("bn2").running_var.tolist()
    mean = sum(one * v for one, v in zip(model.norms[1].delta_per_channel, var, strict=True) if one is not None)
    assert mean / sum(var) == pytest.approx(model.norms[1].delta, rel=0.02)


def test_a_live_model_that_cannot_be_run_is_judged_by_its_code(trained: nn.Module) -> None:
    class Stubborn(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 2 and not torch.all(self[0].bias == 0.0):
                raise ValueError("two!")
            return super().forward(x)

    model = Stubborn(trained.get_submodule("fc1"), nn.Dropout(), trained.get_submodule("bn1"))
    report = dropcheck.lint(model)
    assert (report.models[0].evidence, report.errors) == ("prior", ())
    assert "two!" in (report.models[0].reason or "")
    assert [error.kind for error in dropcheck.lint(model, weights=model.state_dict()).errors] == ["capture"]


def test_a_live_model_that_has_hardly_seen_data_is_judged_by_its_code() -> None:
    model = Net()
    new = dropcheck.lint(model)
    model(torch.randn(8, 16))
    report = dropcheck.lint(model)
    assert (new.models[0].evidence, report.models[0].evidence, report.models[0].reason) == ("prior", "prior", None)
    assert norms(report) == norms(new)


def test_a_model_without_dropout_has_no_shift_and_needs_no_run(trained: nn.Module) -> None:
    quiet = Net()
    quiet.load_state_dict(trained.state_dict())
    quiet.drop = nn.Identity()
    quiet.register_forward_pre_hook(lambda *_: pytest.fail("it was run"))
    report = dropcheck.lint(quiet)
    assert report.models[0].evidence == "weights"
    assert norms(report) == {"bn1": 1.0, "bn2": 1.0}
    assert report.models[0].norms[0].delta_per_channel == (1.0,) * 32


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "args": object()}])
def test_weights_may_be_a_state_dict(lint: Lint, state: State, wrap: Callable[[State], Any]) -> None:
    before = {key: value.clone() for key, value in state.items()}
    wanted = lint("nets.py", "--weights", "trained.pt", "--format", "json").model
    expected = {norm["name"]: pytest.approx(norm["delta"], rel=0.05) for norm in wanted["norms"]}
    model = Net()
    untouched = everything(model)
    live, target = dropcheck.lint(model, weights=wrap(state)), dropcheck.lint("nets.py:Net", weights=wrap(state))
    assert norms(live) == expected
    assert norms(target) == expected
    assert same(everything(model), untouched)
    assert same(state, before)


def test_weights_of_a_live_model_may_be_a_file(lint: Lint) -> None:
    report = dropcheck.lint(Net(), weights=Path("trained.pt"))
    assert (report.models[0].evidence, report.models[0].weights) == ("weights", "trained.pt")
    (absent,) = dropcheck.lint(Net(), weights="absent.pt").errors
    assert (absent.kind, absent.message) == ("config", "there is no file absent.pt")
    (misfit,) = dropcheck.lint(Net(8), weights="trained.pt").errors
    assert (misfit.path, misfit.kind) == ("Net", "construct")


def test_wrong_weights_are_refused_in_python_too(lint: Lint) -> None:
    with pytest.raises(TypeError, match="weights are a file or a state dict, got int"):
        dropcheck.lint("nets.py", weights=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"weights belong to one model, and \. is a directory"):
        dropcheck.lint(".", weights="trained.pt")
    (error,) = dropcheck.lint(Net(), weights={"epoch": np.float64(3)}).errors
    assert error.message == "the state dict holds no tensors: its entries are 'epoch'"
