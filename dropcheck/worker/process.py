"""The worker process and its pipes, as the main process has them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from dropcheck.job import Job
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.worker.protocol import crashed, ending, parsed

_ROOT = str(Path(__file__).parents[2])
_START = (
    "import sys; root = sys.argv.pop(); sys.path[:0] = [] if root in sys.path else [root]; "
    "from dropcheck.worker.server import main; main()"
)
_GOODBYE_SECONDS = 2.0


class Process:
    """The worker process, its pipes, and why it is of no use if it is not."""

    def __init__(self) -> None:
        self._process = start()
        self._listening = False
        self._broken: AnalysisError | None = None

    @property
    def is_broken(self) -> bool:
        """Whether no job can ever succeed: torch cannot be imported."""
        return self._broken is not None

    def send(self, message: bytes) -> None:
        pipe = _pipe(self._process.stdin)
        try:
            pipe.write(message)
            pipe.flush()
        except BrokenPipeError:
            return  # it has died: the next readline finds nothing

    def interrupt(self, message: bytes) -> bool:
        """Sends without the buffer, which may be in use; False if it has died."""
        try:
            os.write(_pipe(self._process.stdin).fileno(), message)
        except BrokenPipeError:
            return False
        return True

    def readline(self) -> bytes:
        """One answer; empty once there are no more."""
        while not self._listening and not self.is_broken:
            heard = _pipe(self._process.stdout).readline()
            word, _, document = heard.partition(b" ")
            self._listening = word == b"ready"
            if word == b"broken":
                self._broken = parsed(AnalysisError, document)
            elif not heard:
                self._broken = _nostart(ending(self._exit_code()))
        return b"" if self.is_broken else _pipe(self._process.stdout).readline()

    def failure(self, job: Job) -> AnalysisError:
        """Why a job got no answer."""
        return (
            crashed(job.label, ending(self._exit_code()), None) if self._broken is None else for_job(self._broken, job)
        )

    def close(self) -> None:
        with suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()
        self._process.terminate()  # it may be busy importing torch
        self._exit_code()
        _pipe(self._process.stdout).close()

    def _exit_code(self) -> int:
        """Waits for its end, which has come or is near."""
        try:
            return self._process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def start(*options: str) -> subprocess.Popen[bytes]:
    """A worker process. The working directory is not on its path, so that nothing in it passes for a library, and what
    Python warns of in the code it runs is none of our business.

    In a session of its own Ctrl-C does not reach it: the main process hears that, and ends it by closing its pipes.
    """
    command = [sys.executable, "-P", "-W", "ignore", "-c", _START, *options, _ROOT]
    errors = None if _has_stderr() else subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    )


def _has_stderr() -> bool:
    try:
        os.fstat(2)
    except OSError:
        return False
    return True


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def for_job(broken: AnalysisError, job: Job) -> AnalysisError:
    return replace(broken, path=job.label)


def _nostart(how: str) -> AnalysisError:
    return AnalysisError(
        "",
        ErrorKind.IMPORT,
        f"torch cannot be imported: the process that tried {how}",
        f"see what this says: {sys.executable} -c 'import torch'",
    )
