"""How far a lint is: a bar on stderr, where that is a terminal; the files it counts."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dropcheck.config import Settings
from dropcheck.run import lint_targets

NET = "from torch import nn\n\nclass Net(nn.Module):\n    pass\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_a_terminal(*options: str) -> tuple[str, str]:
    """Stdout of a static lint, and what a terminal at its stderr is sent."""
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "dropcheck", "lint", "--static", *options]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env=environment, text=True)
    os.close(writer)
    sent = b""
    while True:
        try:
            chunk = os.read(reader, 4096)
        except OSError:  # how a terminal says that nobody has it open any more
            break
        if not chunk:
            break
        sent += chunk
    os.close(reader)
    out, _ = run.communicate()
    return out, sent.decode()


@pytest.mark.usefixtures("project")
def test_a_terminal_is_shown_how_far_it_is() -> None:
    out, sent = on_a_terminal()
    assert "linting" in sent
    assert "files" in sent
    assert "\x1b" not in out
    assert out.endswith("s)\n")


@pytest.mark.usefixtures("project")
def test_quiet_shows_nothing() -> None:
    assert on_a_terminal("--quiet") == ("", "")


@pytest.mark.usefixtures("project")
def test_no_terminal_is_sent_no_bar() -> None:
    command = [sys.executable, "-m", "dropcheck", "lint", "--static"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


@pytest.mark.usefixtures("project")
def test_every_file_is_waited_for_once_and_read_once() -> None:
    seen: list[tuple[int, int, str]] = []
    lint_targets(["."], Settings(), watch=lambda *step: seen.append(step))
    files = ["one.py", "three.py", "two.py"]
    assert seen == [(done, 3, file) for _ in ("analysed", "read") for done, file in enumerate(files)]
