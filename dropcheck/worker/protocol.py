"""The lines the processes exchange, and the words for what can happen to a process.

A line is a word and a JSON document. Main process → worker: ``job`` (a Request), and ``stop`` to end what measures.
Worker → main process: ``ready``, or ``broken`` (an AnalysisError) if torch cannot be imported; then for each job, led
by its number, ``model`` (a CapturedModel), ``error`` (an AnalysisError), ``progress`` (a Progress) from the moment when
data are read, ``table`` (a ShiftTable) and at last ``end``. A child says the same to the worker, and ``began`` (a
target) before each model.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import TypeVar

from dropcheck.job import Job
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.wire import decode, encode

T = TypeVar("T")
LONGEST_LINE = 2**26
"""Bytes of one answer, 64 MiB: a hundred times the largest graph we met."""


@dataclass(frozen=True, slots=True)
class Request:
    """One job, numbered by the main process; ``timeout`` in seconds, without the import of torch and measuring."""

    number: int
    timeout: float
    job: Job


def line(word: str, value: object = None) -> bytes:
    """One line to send."""
    return f"{word} {json.dumps(encode(value))}\n".encode()


def parsed(kind: type[T], document: bytes) -> T:
    """The value in a line's document. Raises ValueError."""
    try:
        return decode(kind, json.loads(document))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def timed_out(label: str, seconds: float, target: str | None) -> AnalysisError:
    """The error for a job that took too long; ``target`` is the model it was busy with, None while importing."""
    doing = "being imported" if target is None else f"busy with {target}"
    return AnalysisError(
        label,
        ErrorKind.TIMEOUT,
        f"stopped after {seconds:g} s, {doing}",
        "give it more time with --timeout SECONDS; training or downloads belong under if __name__ == '__main__':",
    )


def stuck(label: str, seconds: float, target: str | None) -> AnalysisError:
    """The error for measuring that has not come on for so long."""
    return AnalysisError(
        label,
        ErrorKind.TIMEOUT,
        f"stopped measuring {target or 'it'}: a batch took more than {seconds:g} s",
        "give each batch more time with --timeout SECONDS, or make smaller batches with --batch-size",
    )


def crashed(label: str, how: str, target: str | None) -> AnalysisError:
    """The error for a job whose process went away; ``how`` it did, see :func:`ending`."""
    doing = "while it was imported" if target is None else f"while busy with {target}"
    hint = "try what it does in a plain Python session, one step at a time; other files are not affected"
    return AnalysisError(label, ErrorKind.CRASH, f"its process {how} {doing}", hint)


def ending(exit_code: int) -> str:
    """How a process ended: ``was killed by SIGSEGV``, ``ended itself with exit code 3``."""
    if exit_code >= 0:
        return f"ended itself with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
