"""What dropcheck.lint says of a live model or a target, and that it leaves the model as it was."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dropcheck
from dropcheck import Severity, Thresholds


class Net(nn.Module):
    """A dropout before a batch norm; ``touch`` runs in the middle of forward."""

    def __init__(self, touch: Callable[[Net, Tensor], Tensor] = lambda net, x: x) -> None:
        super().__init__()
        self.stem = nn.Linear(16, 16)
        self.frozen = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 4)
        self.register_buffer("steps", torch.zeros(()))
        self.touch = touch
        self.train()
        self.frozen.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.stem(x)
        x = self.touch(self, torch.relu(self.frozen(self.last)))
        self.steps += 1
        return self.head(self.norm(self.drop(x)))


def broken(net: Net, x: Tensor) -> Tensor:
    net.steps += 1
    raise RuntimeError("no such luck")


def erratic(net: Net, x: Tensor) -> Tensor:
    """Draws random numbers, changes itself and looks at values: torch.fx refuses it, and a run leaves traces."""
    random.random(), np.random.rand(), torch.rand(3)
    net.touched = True  # type: ignore[assignment]
    with torch.no_grad():
        net.stem.weight.zero_()
    return x * 2 if x.sum().item() > 0 else x


def codes(report: dropcheck.Report) -> list[str]:
    return [finding.code for finding in report.findings]


def everything(model: nn.Module) -> dict[str, Any]:
    """All that using a model may change, and the states of the random number generators."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {
        "tensors": {name: (id(value), value._version, value.detach().clone()) for name, value in tensors},
        "flags": {name: module.training for name, module in model.named_modules()},
        "attributes": {
            (name, key): id(value) for name, module in model.named_modules() for key, value in vars(module).items()
        },
        "hooks": {name: list(module._forward_hooks.values()) for name, module in model.named_modules()},
        "gradients": {name: value.grad for name, value in model.named_parameters()},
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("example", [None, torch.ones(4, 16)], ids=["inferred", "given"])
@pytest.mark.parametrize("touch", [lambda net, x: x, erratic, broken], ids=["plain", "erratic", "broken"])
def test_a_live_model_is_left_as_it_was(touch: Callable[[Net, Tensor], Tensor], example: Tensor | None) -> None:
    calls: list[nn.Module] = []
    model = Net(touch)
    model(torch.ones(4, 16)) if touch is not broken else None
    model.norm.register_forward_hook(lambda module, given, result: calls.append(module))
    before = everything(model)
    report = dropcheck.lint(model, example)
    assert same(everything(model), before)
    assert calls == []
    assert bool(report.errors) == (touch is broken)
    if touch is not broken:
        assert codes(report) == ["DC101", "DC110"]


def test_the_example_input_is_left_as_it_was() -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return x.mul_(2) * scale

    given, scale = torch.ones(2, 3, requires_grad=False), torch.ones(3)
    report = dropcheck.lint(InPlace(), given, {"scale": scale})
    assert report.models[0].status == "analysed"
    assert torch.equal(given, torch.ones(2, 3))


def test_flags_of_a_model_in_training_mode_are_its_own() -> None:
    model = Net()
    assert [norm.name for norm in dropcheck.lint(model).models[0].norms] == ["norm"]
    model.drop.eval()
    assert codes(dropcheck.lint(model)) == []


def test_a_model_in_evaluation_mode_is_judged_as_it_trains() -> None:
    model = Net().eval()
    assert codes(dropcheck.lint(model)) == ["DC101", "DC110"]
    assert not any(module.training for module in model.modules())


def test_arguments_may_be_nested_and_named() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.3), nn.BatchNorm1d(5)

        def forward(self, both: dict[str, Tensor], scale: float, *, more: Tensor) -> Tensor:
            return self.norm(self.drop(both["a"] + both["b"] * scale + more))

    one = torch.ones(2, 5)
    report = dropcheck.lint(Pair(), ({"a": one, "b": one}, 2.0), {"more": one})
    assert codes(report) == ["DC101"]
    assert report.models[0].input == "2x5,2x5,2x5"


def test_a_finding_of_a_live_model_points_into_its_file() -> None:
    finding = dropcheck.lint(Net(), select=["DC101"]).findings[0]
    assert finding.site is not None
    assert finding.site.path.endswith("test_api.py")
    assert finding.location == finding.site
    assert (finding.model, finding.op, finding.norm) == ("Net", "drop", "norm")


def test_rules_and_thresholds_can_be_chosen() -> None:
    model = Net()
    assert codes(dropcheck.lint(model, select=["DC110"])) == ["DC110"]
    assert codes(dropcheck.lint(model, select="DC1,DC3", ignore="DC101")) == ["DC110"]
    lenient = dropcheck.lint(model, select=["DC101"], thresholds=Thresholds(error=9.0, warning=8.0))
    assert [finding.severity for finding in lenient.findings] == [Severity.INFO]
    with pytest.raises(ValueError, match="no rule's code starts with 'DC999'"):
        dropcheck.lint(model, select=["DC999"])


def test_what_cannot_be_captured_is_an_error_of_the_report() -> None:
    (error,) = dropcheck.lint(Net(broken)).errors
    assert (error.path, error.kind) == ("Net", "capture")
    assert "no such luck" in error.message
    assert "example_input" in error.hint


def test_wrong_kinds_of_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"expected an nn\.Module, a path or a target, got int"):
        dropcheck.lint(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="goes with a live model"):
        dropcheck.lint("nets.py", torch.ones(2))


def test_a_path_or_target_is_analysed_as_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\ndef net(p):\n    return nn.Sequential(nn.Dropout(p), nn.BatchNorm1d(8))\n",
        encoding="utf-8",
    )
    report = dropcheck.lint("nets.py:net(0.3)")
    assert [model.arguments for model in report.models] == ["0.3"]
    assert codes(report) == ["DC101"]
    assert json.loads(report.to_json())["findings"][0]["location"]["line"] == 5
    (error,) = dropcheck.lint(tmp_path / "absent.py").errors
    assert error.kind == "config"


def test_names_are_complete_and_lazy() -> None:
    assert set(dropcheck.__all__) <= set(dir(dropcheck))
    assert all(getattr(dropcheck, name) is not None for name in dropcheck.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'lnit'"):
        dropcheck.lnit  # noqa: B018
    script = "import sys, dropcheck; dropcheck.lint; dropcheck.Report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
