"""Constructors that download, read files, wait or want CUDA: named with the reason, the others are judged."""

from __future__ import annotations

import shlex
import sys

import pytest
import torch
from commands import Load
from torch import nn

from dropcheck.capture import BuiltSites, CaptureError, ExampleInput, attempt
from dropcheck.capture.memory import at_most, is_exhausted
from dropcheck.job import Job
from dropcheck.load import build as building
from dropcheck.load import model as modelling
from dropcheck.load.failure import LoadError, TookTooLong, limited
from dropcheck.load.model import quoted
from dropcheck.ops import Opaque
from dropcheck.result import ErrorKind, Status


@pytest.mark.parametrize(
    ("wants", "message", "hint"),
    [
        ("open('weights/v3.pth')", "No such file or directory: 'weights/v3.pth'", "run dropcheck from the directory"),
        ("raise ConnectionError('no route')", "ConnectionError: no route", "write a function without arguments that"),
        ("raise RuntimeError('Found no NVIDIA driver')", "Found no NVIDIA driver", "write a function without argu"),
        (
            "nn.parallel.DistributedDataParallel(nn.Linear(2, 2))",
            "process group has not",
            "write a function without arg",
        ),
        ("raise SystemExit(2)", "it calls sys.exit(2)", "put what a script does under"),
    ],
)
def test_what_a_constructor_wants_in_vain_is_named(load: Load, wants: str, message: str, hint: str) -> None:
    outcome = load(
        f"""
        class Bad(nn.Module):
            def __init__(self):
                super().__init__()
                {wants}
            def forward(self, x): return x
        class Good(nn.Sequential):
            def __init__(self): super().__init__(nn.Linear(4, 2), nn.ReLU())
        """
    )
    (error,) = outcome.errors
    assert (error.path, error.kind) == ("nets.py:Bad", ErrorKind.CONSTRUCT)
    assert message in error.message
    assert error.hint.startswith(hint)
    assert [one.target for one in outcome.models if one.status is Status.ANALYSED] == ["nets.py:Good"]


def waits() -> None:
    while True:
        pass


def test_a_constructor_that_waits_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PATIENCE", 0.05)
    with pytest.raises(LoadError, match=r"constructing Net failed: TookTooLong: it is not done after 0\.05 seconds"):
        building.build(waits, "Net")


def test_a_constructor_that_computes_without_end_is_ended_sooner_if_it_is_to_be() -> None:
    def forever() -> nn.Module:
        while True:
            pass

    with pytest.raises(LoadError, match=r"it is not done after 0\.05 seconds"):
        building.build(forever, "Net", busy=0.05)


def test_memory_is_limited_for_a_while() -> None:
    with at_most(2**28), pytest.raises(RuntimeError) as caught:
        torch.empty(2**30, dtype=torch.uint8)
    assert is_exhausted(caught.value)
    assert len(torch.empty(2**30, dtype=torch.uint8)) == 2**30


def test_what_takes_too_much_memory_is_run_without(load: Load) -> None:
    outcome = load(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            def forward(self, x):
                return self.bn(self.conv(x)).repeat(1, 1, 200, 200)
        """
    )
    (model,) = outcome.models
    assert (model.status, model.input) == (Status.ANALYSED, "2x3x32x32")


def test_limits_may_stand_within_each_other() -> None:
    def after_another() -> None:
        with limited(30.0):
            pass
        waits()

    with pytest.raises(TookTooLong, match=r"0\.1 seconds"), limited(0.1):
        after_another()


def test_a_forward_that_waits_leaves_the_others_of_the_file_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waits(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            waits()
            return super().forward(x)

    monkeypatch.setattr(modelling, "OF_MANY", 0.1)
    live = modelling.Live(Job("nets.py"), sys.modules[__name__], BuiltSites())
    result = modelling.analysed(live, "net", Waits(4, 4))
    assert result.error is not None
    assert "TookTooLong: it is not done after 0.1 seconds" in result.error.message


def test_nothing_is_ended_that_is_done_in_time() -> None:
    with limited(30.0):
        done = sum(range(1000))
    assert done == 499500
    with pytest.raises(TookTooLong), limited(0.01):
        waits()


def test_a_model_of_two_thousand_modules_with_shared_parameters(load: Load) -> None:
    outcome = load(
        """
        class Deep(nn.Module):
            def __init__(self, depth=1000):
                super().__init__()
                self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(depth // 2))
                for layer in self.layers: layer[0].weight = self.layers[0][0].weight
                self.again = self.layers[0]
            def forward(self, x):
                for layer in self.layers: x = layer(x)
                return self.again(x)
        """
    )
    (model,) = outcome.models
    assert (model.status, model.input, outcome.errors) == (Status.ANALYSED, "2x4", ())


@pytest.mark.parametrize("target", ["a.py:N(2)", "a.py:N(act='relu')", "a.py:N(a='$x')", """a.py:N(a='"')"""])
def test_a_line_to_write_is_one_word_of_a_shell(target: str) -> None:
    assert shlex.split(quoted(target)) == [target]
    assert "'\"'" not in quoted(target) or "$" in target or '"' in target


def test_bases_and_what_has_no_layers_are_no_models(load: Load) -> None:
    outcome = load(
        """
        import abc
        class Base(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(4, 4)
            def encode(self, x):
                raise NotImplementedError
            def forward(self, x):
                return self.layer(self.encode(x))
        class Open(nn.Module):
            def forward(self, x):
                "For others to write."
                raise NotImplementedError("write it")
        class Marked(nn.Module):
            @abc.abstractmethod
            def forward(self, x): ...
        class Loss(nn.Module):
            def forward(self, scores, labels):
                assert scores.dim() == 7
                return (scores - labels).square().mean()
        class Dropping(nn.Module):
            def forward(self, x):
                assert x.dim() == 7
                return nn.functional.dropout(x)
        """
    )
    assert {model.target: model.reason for model in outcome.models if model.by_design} == {
        "nets.py:Base": "its encode is left open: a base for other classes",
        "nets.py:Open": "its forward is left open: a base for other classes",
        "nets.py:Marked": "its forward is left open: a base for other classes",
        "nets.py:Loss": "it has no layers, no dropout and no norm",
    }
    assert [error.path for error in outcome.errors] == ["nets.py:Dropping"]


def test_scripted_modules_are_opaque_parts(load: Load) -> None:
    outcome = load(
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Dropout()))
                self.norm = nn.BatchNorm1d(4)
            def forward(self, x): return self.norm(self.body(x))
        """
    )
    (model,) = outcome.models
    assert model.graph is not None
    assert [node.op.target for node in model.graph if isinstance(node.op, Opaque)] == ["RecursiveScriptModule"]


def test_a_forward_without_end_is_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            while x.abs().sum() > -1:
                x = super().forward(x)
            return x

    monkeypatch.setattr(attempt, "PATIENCE", 0.05)
    monkeypatch.setattr(attempt, "ENDURANCE", 0.05)
    model = Endless(4, 4)
    with pytest.raises(CaptureError, match="could not be run to its end: a run takes too long"):
        attempt.capture(model, [ExampleInput((torch.zeros(2, 4),))] * 2, twin=lambda: model)
