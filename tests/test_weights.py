"""Trained weights, from the command line and from Python: what they change, and what is said of those of no use."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from test_api import everything, same
from torch import Tensor, nn
from trained_net import (
    SOURCE,
    Net,
    State,
    delta,
    lint,
    measured,
    norms,
    one_thread,
    state,
    trained,
)

import dropcheck

__all__ = ["lint", "one_thread", "state", "trained"]  # fixtures for all of them


def test_weights_make_the_prediction_theirs(lint: Command, trained: nn.Module) -> None:
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


def test_a_target_and_a_file_with_one_model_are_the_same(lint: Command) -> None:
    both = [lint(one, "--weights", "trained.pt", "--format", "json") for one in ("nets.py", "nets.py:Net(32)")]
    assert both[0].model["norms"] == both[1].model["norms"]


def test_how_weights_were_read_is_for_verbose(lint: Command, state: State) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, "wrapped.pt")
    text = lint("nets.py", "--weights", "wrapped.pt", "--verbose").out
    assert "weights wrapped.pt['state_dict'] without 'module.', 8 operations, evidence weights" in text
    assert "wrapped.pt" not in lint("nets.py", "--weights", "wrapped.pt").out


@pytest.mark.parametrize("counted", [True, False])
def test_an_untrained_checkpoint_is_said_and_not_used(lint: Command, counted: bool) -> None:
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
def test_statistics_that_say_nothing_are_named_and_left_out(lint: Command, state: State, sickness: str) -> None:
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


def test_a_norm_that_was_never_trained_is_named_and_not_judged(lint: Command, state: State) -> None:
    state["bn2.running_mean"].zero_()
    state["bn2.running_var"].fill_(1.0)
    torch.save(state, "part.pt")
    answer = lint("nets.py", "--weights", "part.pt", "--format", "json")
    assert (answer.model["evidence"], delta(answer.model, "bn2")) == ("weights", None)
    assert answer.model["reason"] == "left out: untrained statistics in 'bn2'"
    assert delta(answer.model, "bn1") is not None


def test_a_model_that_cannot_be_run_keeps_the_prediction_from_its_code(lint: Command, state: State) -> None:
    stubborn = SOURCE.replace(
        "x = self.drop(",
        "if x.shape[0] != 2 and self.fc1.bias.abs().sum() > 0: raise ValueError('two!')\n        x = self.drop(",
    )
    Path("nets.py").write_text(stubborn, encoding="utf-8")
    answer = lint("nets.py", "--weights", "trained.pt", "--format", "json")
    assert answer.code == 3
    assert answer.model["evidence"] == "prior"
    assert "two!" in answer.err


def test_a_trained_live_model_is_judged_by_its_own_weights(lint: Command, trained: nn.Module) -> None:
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
    model.bn1.num_batches_tracked.fill_(20)  # a constructor may try its first layers out, time and again
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
def test_weights_may_be_a_state_dict(lint: Command, state: State, wrap: Callable[[State], Any]) -> None:
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


def test_weights_of_a_live_model_may_be_a_file(lint: Command) -> None:
    report = dropcheck.lint(Net(), weights=Path("trained.pt"))
    assert (report.models[0].evidence, report.models[0].weights) == ("weights", "trained.pt")
    (absent,) = dropcheck.lint(Net(), weights="absent.pt").errors
    assert (absent.kind, absent.message) == ("config", "there is no file absent.pt")
    (misfit,) = dropcheck.lint(Net(8), weights="trained.pt").errors
    assert (misfit.path, misfit.kind) == ("Net", "construct")


def test_wrong_weights_are_refused_in_python_too(lint: Command) -> None:
    with pytest.raises(TypeError, match="weights are a file or a state dict, got int"):
        dropcheck.lint("nets.py", weights=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"weights belong to one model, and \. is a directory"):
        dropcheck.lint(".", weights="trained.pt")
    (error,) = dropcheck.lint(Net(), weights={"epoch": np.float64(3)}).errors
    assert error.message == "the state dict holds no tensors: its entries are 'epoch'"


# Recalibrated weights ---------------------------------------------------------------------------------------------


def marked(state: State, what: str = "both") -> State:
    """As recalibration leaves a state dict: torch carries the mark through saving and loading."""
    found: Any = OrderedDict(state)
    found._metadata = {"": {"version": 1, "dropcheck": {"recalibrated": what}}}
    return found  # type: ignore[no-any-return]


def saved_wrapped(state: State, file: str) -> None:
    torch.save({"epoch": 3, "state_dict": marked(state)}, file)


def saved_with_a_header(state: State, file: str) -> None:
    from safetensors.torch import save_file

    save_file(state, file, metadata={"format": "pt", "dropcheck": "recalibrated: both"})


@pytest.mark.parametrize(
    ("save", "file"),
    [
        (lambda state, file: torch.save(marked(state), file), "again.pt"),
        (saved_wrapped, "wrapped.pt"),
        (saved_with_a_header, "again.safetensors"),
    ],
)
def test_recalibrated_weights_do_not_shift(
    lint: Command, state: State, save: Callable[[State, str], None], file: str
) -> None:
    save(state, file)
    model = lint("nets.py", "--weights", file, "--format", "json").model
    assert model["evidence"] == "weights"
    assert [(norm["delta"], norm["sources"]) for norm in model["norms"]] == [(1.0, []), (1.0, [])]
    told = "its running statistics were estimated with dropout off, and evaluation sees no shift"
    assert model["reason"] == f"{file} is marked as recalibrated: {told}"
    assert "DC701" not in lint("nets.py", "--weights", file).out
    assert "DC701" in lint("nets.py", "--weights", "trained.pt").out


def test_recalibrated_variances_are_told_apart_and_sick_ones_still_left_out(lint: Command, state: State) -> None:
    state["bn1.running_var"][:2] = float("nan")
    state["bn2.running_mean"].zero_()
    state["bn2.running_var"].fill_(1.0)
    torch.save(marked(state, "var"), "again.pt")
    model = lint("nets.py", "--weights", "again.pt", "--format", "json").model
    assert (delta(model, "bn1"), delta(model, "bn2")) == (1.0, None)
    assert "its running variances were estimated with dropout off" in model["reason"]
    assert "untrained statistics in 'bn2'; NaN or infinite statistics in 2 of 32 channels of 'bn1'" in model["reason"]


def test_a_mark_that_is_not_known_counts_for_nothing(lint: Command, state: State) -> None:
    torch.save(marked(state, "all of them"), "odd.pt")
    wanted = lint("nets.py", "--weights", "trained.pt", "--format", "json").model["norms"]
    assert lint("nets.py", "--weights", "odd.pt", "--format", "json").model["norms"] == wanted


def test_a_state_dict_with_the_mark_is_believed(lint: Command, state: State) -> None:
    for weights in (marked(state), {"model": marked(state), "args": object()}):
        for target in (Net(), "nets.py:Net"):
            assert norms(dropcheck.lint(target, weights=weights)) == {"bn1": 1.0, "bn2": 1.0}  # type: ignore[arg-type]


# Weights that a file loads itself -----------------------------------------------------------------------------------


def test_an_instance_is_judged_by_the_weights_its_file_loads(lint: Command, state: State) -> None:
    loading = "\nimport torch\n\nnet = Net()\nnet.load_state_dict(torch.load({!r}))\n"
    wanted = lint("nets.py", "--weights", "trained.pt", "--format", "json").model["norms"]
    Path("loads.py").write_text(SOURCE + loading.format(os.path.abspath("trained.pt")), encoding="utf-8")
    model = lint("loads.py", "--format", "json").model
    assert (model["target"], model["evidence"], model["reason"]) == ("loads.py:net", "weights", None)
    assert [norm["delta"] for norm in model["norms"]] == [norm["delta"] for norm in wanted]

    torch.save(marked(state), "again.pt")
    Path("loads.py").write_text(SOURCE + loading.format(os.path.abspath("again.pt")), encoding="utf-8")
    model = lint("loads.py", "--format", "json").model
    assert [norm["delta"] for norm in model["norms"]] == [1.0, 1.0]
    assert model["reason"].startswith("the model is marked as recalibrated")


@pytest.mark.parametrize(
    "loading",
    [
        "net.load_state_dict({'bn1.running_var': torch.full((32,), 2.0)}, strict=False)",
        "net.bn1.load_state_dict(net.bn1.state_dict()), [net(torch.randn(64, 16)) for _ in range(20)]",
        "[net(torch.randn(64, 16)) for _ in range(20)]",
    ],
    ids=["in part", "a part", "never"],
)
def test_an_instance_without_all_its_weights_is_judged_by_its_code(lint: Command, loading: str) -> None:
    Path("part.py").write_text(f"{SOURCE}\nimport torch\n\nnet = Net()\n{loading}\n", encoding="utf-8")
    assert lint("part.py", "--format", "json").model["evidence"] == "prior"


# Faults -------------------------------------------------------------------------------------------------------------


def test_a_fault_of_the_predictor_is_named_as_dropchecks(trained: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropcheck.simulate.calibrate.moments", lambda *_: None)
    for weights in (None, trained.state_dict()):
        report = dropcheck.lint(trained, weights=weights)
        (error,) = report.errors
        assert (error.kind, report.models[0].evidence) == ("internal", "prior")
        assert error.message.startswith("dropcheck failed to predict from its weights: AttributeError: ")
        assert "report it" in error.hint
        assert "Traceback" in error.details
