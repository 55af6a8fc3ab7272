"""What all tests share: golden files, commands, and leaving the process as it was."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Answer, Command, Load

from dropcheck.cli import main
from dropcheck.job import Job, Outcome
from dropcheck.source import parse_target
from dropcheck.worker import Worker

HEAD = "import torch\nfrom torch import nn\n"
GOLDENS = Path(__file__).parent / "goldens"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite", action="store_true", help="write the goldens anew instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden("report/full.txt", text)``: the text is what ``tests/goldens`` holds; ``--overwrite`` stores it."""

    def compare(name: str, actual: str) -> None:
        file = GOLDENS / name
        if request.config.getoption("--overwrite"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(actual.encode())
        assert file.is_file(), f"no golden {name}: run pytest --overwrite and read what it wrote"
        assert actual == file.read_bytes().decode(), f"{name} differs; pytest --overwrite renews it"

    return compare


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """``command("lint", "nets.py")`` runs that in an empty directory, or wherever the test goes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["dropcheck", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return Answer(int(stop.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One worker process for all tests of a file."""
    with Worker(timeout=60.0) as one:
        yield one


@pytest.fixture
def load(worker: Worker, tmp_path: Path) -> Load:
    """Writes a file and gives what the worker makes of it, or of a symbol in it."""

    def run(
        source: str, target: str = "", *, head: str = HEAD, file: str = "nets.py", input: str | None = None
    ) -> Outcome:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + textwrap.dedent(source))
        parsed = parse_target(f"{path}:{target}" if target else str(path))
        job = Job("nets.py", path=str(path), symbol=parsed.symbol, call=parsed.call, input=input)
        (outcome,) = worker.run([job])
        return outcome

    return run


@pytest.fixture(autouse=True)
def importing_as_before() -> Iterator[None]:
    """What loads a model's file in this process leaves behind how packages are found that are not installed."""
    finders = list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
