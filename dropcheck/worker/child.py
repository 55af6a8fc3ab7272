"""What happens in the process that runs foreign code."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

from dropcheck.job import CapturedModel, Job
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.table import Progress, ShiftTable
from dropcheck.worker.echo import echoed
from dropcheck.worker.protocol import Request, line

_PR_SET_PDEATHSIG = 1
_WORDS = {AnalysisError: "error", CapturedModel: "model", Progress: "progress", ShiftTable: "table"}


def run_child(request: Request, pipe: int) -> NoReturn:
    """Works on one job in a fresh child process, answers through ``pipe`` and ends the process."""
    pid = os.getpid()

    def tell(message: bytes) -> None:
        if os.getpid() != pid:
            os._exit(0)  # foreign code has forked: only one of the two may answer
        while message:
            message = message[os.write(pipe, message) :]

    try:
        _detach()
        run_job(request, tell)
        os._exit(0)  # not by way of exit handlers: they are foreign code too
    except BaseException:  # noqa: BLE001 - nothing may return from here into the code of the parent
        traceback.print_exc()
        os._exit(1)


def run_job(request: Request, tell: Callable[[bytes], object]) -> None:
    """Tells everything about one job, the last line being ``end``."""
    from dropcheck.load import Began

    sys.dont_write_bytecode = True
    try:
        for told in _work(request.job):
            match told:
                case Began(target=target):
                    tell(line("began", target))
                case _:
                    tell(line(_WORDS[type(told)], told))
    except Exception as error:  # noqa: BLE001 - a fault of ours must not look like one of the file
        tell(line("error", _internal(request.job.label, error)))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()  # the end is the end: what is still in the buffers then is lost
    tell(line("end"))


def _work(job: Job) -> Iterator[Any]:
    if job.measurement is not None:
        from dropcheck.load.measuring import measured

        return measured(job)
    import torch

    from dropcheck.load import analyse

    torch.set_num_threads(1)  # other jobs use the other cores
    return _echoing(job.label, analyse(job))


def _echoing(label: str, results: Iterator[Any]) -> Iterator[Any]:
    """Models are built and run many times over: what they print then is worth reading once."""
    with echoed(label):
        yield from results


def _internal(label: str, error: Exception) -> AnalysisError:
    return AnalysisError(
        label,
        ErrorKind.INTERNAL,
        f"dropcheck failed on it: {type(error).__name__}: {error}",
        "this is a fault of dropcheck, please report it with the output of --verbose",
        "".join(traceback.format_exception(error)),
    )


def _detach() -> None:
    """A session of its own, so that it can be killed as one with all it starts. No core dumps."""
    import resource

    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # no child outlives a worker that is killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
