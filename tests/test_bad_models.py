"""Constructors that download, read files, wait or want CUDA: named with the reason, the others are judged."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropcheck.job import Job, Outcome
from dropcheck.load import build as building
from dropcheck.load.failure import LoadError, TookTooLong, limited
from dropcheck.load.model import quoted
from dropcheck.result import ErrorKind, Status
from dropcheck.worker import Worker

Load = Callable[[str], Outcome]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(timeout=60.0) as one:
        yield one


@pytest.fixture
def load(worker: Worker, tmp_path: Path) -> Load:
    def run(source: str) -> Outcome:
        path = tmp_path / "nets.py"
        path.write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(source))
        (outcome,) = worker.run([Job("nets.py", path=str(path))])
        return outcome

    return run


@pytest.mark.parametrize(
    ("wants", "message", "hint"),
    [
        ("open('weights/v3.pth')", "No such file or directory: 'weights/v3.pth'", "run dropcheck from the directory"),
        ("raise ConnectionError('no route')", "ConnectionError: no route", "write a function without arguments that"),
        ("raise RuntimeError('Found no NVIDIA driver')", "Found no NVIDIA driver", "write a function without argu"),
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
