"""What reaches the terminal or a report file, and how a run ends."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from dropcheck.config import FailOn
from dropcheck.output import write_atomically
from dropcheck.report.alike import error_lines
from dropcheck.report.concise import error_line
from dropcheck.report.verdict import verdict
from dropcheck.result import ErrorKind, Report
from dropcheck.rule import Severity
from dropcheck.source import UsageError

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def is_colored(when: str, output: Path | None) -> bool:
    if when != "auto":
        return when == "always"
    return output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def explain_gaps(report: Report, *, verbose: bool, verdict_wanted: bool) -> None:
    """What the findings do not cover, on stderr: what could not be analysed, one by one if verbose, or for no model."""
    for error in report.errors if verbose else ():
        say(error_line(error))
        if error.details:
            say(error.details.rstrip())
    for line in () if verbose else error_lines(report.errors):
        say(line)
    if verdict_wanted and not (report.models or report.errors):
        say(f"dropcheck: {verdict(report)}")


def exit_code(report: Report, fail_on: FailOn) -> int:
    if any(error.kind is ErrorKind.CONFIG for error in report.errors):
        return 2
    if report.errors or report.unanalysed:
        return 3
    if fail_on is FailOn.NEVER:
        return 0
    return int(any(finding.severity.rank >= Severity(fail_on).rank for finding in report.findings))


def deliver(text: str, file: Path | None) -> None:
    if file is None:
        show(text)
        return
    try:
        write_atomically(file, text)
    except OSError as error:
        raise UsageError(f"{file}: the report cannot be written: {error.strerror}") from error


def show(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough; without this the interpreter would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    print(text, file=sys.stderr)
