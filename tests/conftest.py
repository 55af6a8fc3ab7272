"""Golden files: whole outputs kept under ``tests/goldens``, renewed with ``pytest --overwrite``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent / "goldens"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite", action="store_true", help="write the goldens anew instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden("report/full.txt", text)`` fails unless the text is what the file holds; ``--overwrite`` stores it."""

    def compare(name: str, actual: str) -> None:
        file = GOLDENS / name
        if request.config.getoption("--overwrite"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(actual.encode())
        assert file.is_file(), f"no golden {name}: run pytest --overwrite and read what it wrote"
        assert actual == file.read_bytes().decode(), f"{name} differs; pytest --overwrite renews it"

    return compare


@pytest.fixture(autouse=True)
def importing_as_before() -> Iterator[None]:
    """What loads a model's file in this process leaves behind how packages are found that are not installed."""
    finders = list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
