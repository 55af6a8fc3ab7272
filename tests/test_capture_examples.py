"""Both ways in see the same model: every example that symbolic tracing captures is recorded as well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dropcheck.capture import symbolic
from dropcheck.engine import examine
from dropcheck.job import CapturedModel, Job
from dropcheck.load.analyse import analyse
from dropcheck.rule import Thresholds
from dropcheck.rules import BUILTIN

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def refuse(model: Any) -> NoReturn:
    raise symbolic.Refused("this test records")


@pytest.fixture
def _imports_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def captured(path: Path) -> dict[str, CapturedModel]:
    told = analyse(Job(str(path.relative_to(ROOT)), path=str(path)))
    return {one.target: one for one in told if isinstance(one, CapturedModel) and one.graph is not None}


@pytest.mark.usefixtures("_imports_undone")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_traced_and_recorded_graphs_and_findings_are_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = captured(path)
    assert traced
    monkeypatch.setattr(symbolic, "trace", refuse)
    recorded = captured(path)
    assert {one.capture for one in recorded.values()} == {"record"}
    assert {target: one.input for target, one in recorded.items()} == {t: one.input for t, one in traced.items()}
    for target, one in traced.items():
        other = recorded[target]
        assert one.graph is not None
        assert other.graph is not None
        assert one.graph.nodes == other.graph.nodes, target
        assert examine(one, BUILTIN, Thresholds()).findings == examine(other, BUILTIN, Thresholds()).findings
