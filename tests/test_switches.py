"""Dropout and batch norm that are off by default: what shows when they are on, and that it is told as that."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from dropcheck.config import Settings
from dropcheck.result import Report
from dropcheck.run import lint_targets

Lint = Callable[[str], Report]


@pytest.fixture
def lint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lint:
    monkeypatch.chdir(tmp_path)

    def run(source: str, target: str = "nets.py") -> Report:
        (tmp_path / "nets.py").write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(source))
        return lint_targets([target], Settings())

    return run


def net(parameters: str, *layers: str) -> str:
    built = ", ".join(f"*({layer})" if layer.startswith("[") else layer for layer in layers)
    return f"""
        class Net(nn.Module):
            def __init__(self, width{parameters}):
                super().__init__()
                self.layers = nn.Sequential({built})
            def forward(self, x): return self.layers(x)
        """


FIRST, NORM = "nn.Linear(width, 32)", "nn.BatchNorm1d(32)"


def told(report: Report) -> list[tuple[str, str]]:
    assert report.errors == ()
    return [(one.code, one.message.rpartition("[")[2].rstrip("]")) for one in report.findings]


def test_dropout_that_is_off_is_judged_switched_on(lint: Lint) -> None:
    report = lint(net(", dropout=0.0", FIRST, "nn.Dropout(dropout)", NORM))
    assert told(report) == [("DC101", "with dropout=0.5")]
    assert [(one.target, one.arguments) for one in report.models] == [("nets.py:Net", "width=16")]
    assert report.models[0].norms[0].delta == 1.0


def test_what_needs_two_switches_names_both(lint: Lint) -> None:
    norm = "[nn.BatchNorm1d(32)] if batchnorm else []"
    report = lint(net(", dropout=None, batchnorm=False", FIRST, "nn.Dropout(dropout or 0.0)", norm))
    assert told(report) == [("DC101", "with dropout=0.5, batchnorm=True")]


def test_each_fault_is_told_once_for_the_fewest_switches(lint: Lint) -> None:
    source = net(", drop_rate=0.3, head_drop=0.0", FIRST, "nn.Dropout(drop_rate)", NORM, "nn.Dropout(head_drop)")
    assert [code for code, _ in told(lint(source))] == ["DC101"]
    assert "[with" not in lint(source).findings[0].message


def test_a_switch_that_makes_no_shift_changes_nothing(lint: Lint) -> None:
    assert told(lint(net(", dropout=0.0", FIRST, NORM, "nn.ReLU()", "nn.Dropout(dropout)"))) == []
    assert told(lint(net(", dropout=0.0", FIRST, "nn.LayerNorm(32)", "nn.Dropout(dropout)"))) == []
    assert told(lint(net(", use_bn=False", FIRST, "[nn.BatchNorm1d(32)] if use_bn else []"))) == []


def test_a_rate_that_nobody_wrote_is_not_called_high(lint: Lint) -> None:
    report = lint(net(", dropout=0.0", FIRST, "nn.Dropout(dropout)", NORM))
    assert "DC110" not in {one.code for one in report.findings}


def test_given_arguments_are_as_they_are_wanted(lint: Lint) -> None:
    source = net(", dropout=0.0", FIRST, "nn.Dropout(dropout)", NORM)
    assert told(lint(source, "nets.py:Net(8)")) == []
    assert told(lint(f"# dropcheck: build Net(8)\n{textwrap.dedent(source)}")) == []
    assert told(lint(source, "nets.py:Net")) == [("DC101", "with dropout=0.5")]


def test_a_switch_that_does_not_build_is_none(lint: Lint) -> None:
    source = net(", dropout=None", FIRST, "dropout.layer() if dropout is not None else nn.Identity()", NORM)
    report = lint(source)
    assert (told(report), report.unanalysed) == ([], ())
