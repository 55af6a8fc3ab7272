"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parser(name: str, description: str | None, cache: bool = False) -> argparse.ArgumentParser:
    """For ``python -m tests.benchmarks.NAME``; ``cache``: whether it trains networks that are worth keeping."""
    made = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}", description=description)
    if cache:
        made.add_argument("--cache", metavar="DIR", type=Path, help="keeps trained weights for the next run")
    made.add_argument("--output", metavar="FILE", type=Path, help="also writes the Markdown here")
    return made


def deliver(text: str, output: Path | None) -> None:
    """To the standard output, and to a file if one is named."""
    sys.stdout.write(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")
