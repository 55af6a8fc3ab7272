"""Files written and linted as from the command line, with one worker for all tests of a module."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest

from dropcheck.config import Settings
from dropcheck.result import Report
from dropcheck.run import lint_targets
from dropcheck.worker import Worker

HEAD = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
NET = """\
class Net(nn.Module):
    def __init__(self, width: int = 16):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, width), nn.Linear(width, 4)
        self.drop = nn.Dropout(0.5){built}
        self.bn = nn.BatchNorm1d(width)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.drop(x){called}
        return self.fc2(self.bn(x))
"""
"""Case (a), found by DC101 and DC110 on the line of ``called``, after HEAD line 13; the layer is built on line 8."""

Lint = Callable[..., Report]


def net(called: str = "", built: str = "") -> str:
    """The file with comments at the call of its dropout and at the construction."""
    spaced = {"called": called and f"  # {called}", "built": built and f"  # {built}"}
    return HEAD + NET.format(**spaced)


@contextmanager
def one_worker(directory: Path) -> Iterator[Lint]:
    """``lint({"a.py": text}, settings)`` writes files in a new ``folder`` and lints it, or what ``only`` names there.

    The working directory is ``directory``.
    """
    number = 0
    here = os.getcwd()
    os.chdir(directory)

    def lint(
        files: dict[str, str | bytes],
        settings: Settings | None = None,
        only: str = "",
        folder: Path | None = None,
        **options: bool,
    ) -> Report:
        nonlocal number
        number += 1
        folder = folder or Path(f"case{number}")
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return lint_targets([f"{folder}/{only}"], settings or Settings(), **options)

    try:
        with Worker(timeout=60.0, jobs=2) as worker, patch("dropcheck.run.Worker", lambda **_: nullcontext(worker)):
            yield lint
    finally:
        os.chdir(here)


def found(report: Report) -> list[str]:
    """The findings as ``line: code``."""
    return [f"{one.site.line if one.site else '?'}: {one.code}" for one in report.findings]


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lint]:
    with one_worker(tmp_path_factory.mktemp("linted")) as run:
        yield run
