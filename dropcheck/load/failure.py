"""Failures of foreign code, told in one line."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
import traceback
import urllib.error
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from dropcheck.result import AnalysisError, ErrorKind

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


_SOLD_AS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages that are installed by another name than they are imported by."""


class LoadError(Exception):
    """Something of the user's that cannot be loaded: what kind of step failed, why, and what to try."""

    def __init__(self, kind: ErrorKind, message: str, hint: str, details: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.hint, self.details = kind, message, hint, details

    def report(self, path: str) -> AnalysisError:
        """The error as the report carries it, for the file or target ``path``."""
        return AnalysisError(path, self.kind, self.message, self.hint, self.details)


class TookTooLong(BaseException):
    """Foreign code is at work for longer than anybody waits. Not for it to catch."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it is not done after {seconds:g} seconds")


@contextmanager
def limited(seconds: float, busy: float = math.inf) -> Iterator[None]:
    """Ends foreign code with TookTooLong after so many seconds, or so many of them ``busy`` with computing, where
    signals can do that: in a main thread on Unix.
    """
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
            stack.enter_context(_rings(signal.SIGALRM, signal.ITIMER_REAL, seconds))
            stack.enter_context(_rings(signal.SIGPROF, signal.ITIMER_PROF, busy))
        yield


@contextmanager
def _rings(number: signal.Signals, timer: int, seconds: float) -> Iterator[None]:
    if seconds == math.inf:
        yield
        return

    def ring(*_: object) -> None:
        raise TookTooLong(seconds)

    started, left = time.monotonic(), signal.getitimer(timer)[0]
    before = signal.signal(number, ring)
    signal.setitimer(timer, min(seconds, left or seconds))
    try:
        yield
    finally:
        # Who waits around this one goes on waiting.
        signal.setitimer(timer, max(left - (time.monotonic() - started), 0.01) if left else 0.0)
        signal.signal(number, before)


@contextmanager
def foreign(kind: ErrorKind, what: str, hint: str, file: str | None = None) -> Iterator[None]:
    """Runs foreign code: whatever it raises, exits included, becomes a LoadError saying ``what`` failed and where.

    ``file``: the user's file, in which the failing line is looked for first.
    """
    try:
        yield
    except LoadError:
        raise
    except BaseException as error:
        raise LoadError(kind, f"{what}: {described(error, file)}", _hint(error, hint), _details(error)) from error


def to_install(packages: Iterable[str]) -> str:
    """What to do about packages that are not there, named as they are imported."""
    names = list(packages)
    command = " ".join(_SOLD_AS.get(name, name) for name in names)
    return f"install {', '.join(map(repr, names))} into the environment dropcheck runs in: pip install {command}"


def described(error: BaseException, file: str | None = None) -> str:
    """``ValueError: message (nets.py, line 3)``: the exception's first line and where in the user's code it arose."""
    if isinstance(error, SystemExit):
        shown = f"it calls sys.exit({'' if error.code is None else repr(error.code)})"
    else:
        shown = ": ".join(part for part in (type(error).__name__, _text(error)) if part)
    line = _line(error, file)
    return f"{shown} ({line})" if line else shown


def _text(error: BaseException) -> str:
    try:
        return next(iter(str(error).strip().splitlines()), "")
    except Exception:  # noqa: BLE001 - a foreign exception may not even be able to say what it is
        return ""


def _line(error: BaseException, file: str | None) -> str | None:
    """The innermost line of the user's file the traceback passes through."""
    if file is None:
        return None
    lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f"{os.path.basename(file)}, line {lines[-1]}" if lines else None


def _hint(error: BaseException, otherwise: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return to_install([error.name.partition(".")[0]])
    lacks_net = isinstance(error, urllib.error.URLError | ConnectionError | TimeoutError) or "internet" in str(error)
    if lacks_net or isinstance(error, TookTooLong | EOFError):
        return "write a function without arguments that returns it without downloading or waiting for anything"
    if isinstance(error, FileNotFoundError):
        return "run dropcheck from the directory that has it, or write a function that returns the model without it"
    if "process group" in str(error):
        return "write a function without arguments that returns the model itself, not wrapped for several processes"
    if "CUDA" in str(error) or "NVIDIA" in str(error):
        return "write a function without arguments that returns it on the CPU"
    if isinstance(error, SystemExit):
        return 'put what a script does under: if __name__ == "__main__":'
    return otherwise


def _details(error: BaseException) -> str:
    """The traceback from the first frame that is not ours."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith((_OURS, "<frozen importlib"))
