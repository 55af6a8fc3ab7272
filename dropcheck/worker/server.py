"""The worker's own side: it imports torch once and forks a child for every job, which it ends when its time is up.

No foreign code runs in this process. It must not start threads or compute with torch, or forking would not be safe.
"""

from __future__ import annotations

import gc
import math
import os
import selectors
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import BinaryIO

from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.worker.child import run_child, run_job
from dropcheck.worker.protocol import LONGEST_LINE, Request, crashed, ending, line, parsed, stuck, timed_out

_LOOK_AGAIN = 0.2
"""Seconds after which a child is looked at even if its pipe is silent: a process of its own may hold that open."""

_ANSWERS = frozenset({b"model", b"error", b"progress", b"table"})


def main() -> None:
    """Serves jobs from standard input until it ends; with ``--alone`` a single one, in this very process."""
    requests, answers = _private_pipes()
    try:
        _prepare()
    except BaseException as error:  # noqa: BLE001 - whatever a broken torch raises is told
        answers.write(line("broken", _broken(error)))
        answers.close()
        return
    answers.write(line("ready"))
    answers.flush()
    if "--alone" in sys.argv:
        with answers:
            run_job(parsed(Request, requests.readline().partition(b" ")[2]), answers.write)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        _Server(requests.fileno(), answers).serve()
    finally:
        os._exit(0)  # taking torch down in good order takes a while


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the main process, out of the way of foreign code: stdin is empty now, and stdout is stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return requests, answers


def _prepare() -> None:
    gc.disable()  # what is imported now is never garbage; looking for some would take a fifth of the time

    import torch.fx  # noqa: F401

    import dropcheck.load  # noqa: F401

    gc.freeze()  # children then neither visit nor copy what is shared
    gc.enable()


def _broken(error: BaseException) -> AnalysisError:
    if "torch.fx" in sys.modules:  # what failed was not torch
        return AnalysisError(
            "",
            ErrorKind.INTERNAL,
            f"dropcheck cannot start its worker: {type(error).__name__}: {error}",
            "this is a fault of dropcheck or of its installation, please report it with the output of --verbose",
            traceback.format_exc(),
        )
    return AnalysisError(
        "",
        ErrorKind.IMPORT,
        f"torch cannot be imported: {type(error).__name__}: {error}",
        f"install torch for the Python that runs dropcheck: {sys.executable}",
        traceback.format_exc(),
    )


class _Server:
    def __init__(self, requests: int, answers: BinaryIO) -> None:
        self.requests, self.answers = requests, answers
        self.unread = b""
        self.selector = selectors.DefaultSelector()
        self.selector.register(requests, selectors.EVENT_READ)
        self.children: dict[int, _Child] = {}

    def serve(self) -> None:
        """Until the main process closes its end."""
        try:
            while self._turn():
                pass
        except BrokenPipeError:
            return  # the main process is gone
        finally:
            for child in self.children.values():
                child.kill()

    def _turn(self) -> bool:
        for key, _ in self.selector.select(_LOOK_AGAIN if self.children else None):
            if key.fd != self.requests:
                self._hear(self.children[key.fd])
            elif not self._take_requests():
                return False
        for child in list(self.children.values()):
            if child.is_over():
                self._hear(child)
                if child.pipe in self.children:
                    self._end(child, child.failure())
        return True

    def _take_requests(self) -> bool:
        data = os.read(self.requests, 2**16)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for one in lines:
            word, _, document = one.partition(b" ")
            if word == b"job":
                self._start(parsed(Request, document))
            else:
                for child in self.children.values():
                    child.stop()
        return bool(data)

    def _start(self, request: Request) -> None:
        ours, theirs = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for descriptor in (ours, self.requests, self.answers.fileno(), *self.children):
                os.close(descriptor)
            self.selector.close()
            run_child(request, theirs)
        os.close(theirs)
        os.set_blocking(ours, False)
        self.children[ours] = _Child(request, pid, ours)
        self.selector.register(ours, selectors.EVENT_READ)

    def _hear(self, child: _Child) -> None:
        """Passes on what a child says."""
        heard, more = child.heard()
        for one in heard:
            word, _, document = one.partition(b" ")
            if word == b"began":
                child.target = parsed(str, document)
            elif word in _ANSWERS:
                if word == b"progress":
                    child.comes_on()
                self._answer(child, one + b"\n")
            else:
                return self._end(child, None if word == b"end" else child.nonsense())
        if not more:
            self._end(child, child.failure())
        return None

    def _end(self, child: _Child, error: AnalysisError | None) -> None:
        self.selector.unregister(child.pipe)
        del self.children[child.pipe]
        child.kill()
        if error is not None:
            self._answer(child, line("error", error))
        self._answer(child, line("end"))

    def _answer(self, child: _Child, message: bytes) -> None:
        self.answers.write(b"%d " % child.request.number + message)
        self.answers.flush()


class _Child:
    """A forked process at work on one job, and what it has said."""

    def __init__(self, request: Request, pid: int, pipe: int) -> None:
        self.request, self.pid, self.pipe = request, pid, pipe
        self.deadline = time.monotonic() + request.timeout
        self.measuring = False
        self.target: str | None = None
        self.unread = b""
        self.exit_code: int | None = None

    def heard(self) -> tuple[list[bytes], bool]:
        """The whole lines said since the last time, and whether more may come."""
        chunks: list[bytes] = []
        more = True
        with suppress(BlockingIOError):
            while more and sum(map(len, chunks)) < LONGEST_LINE:
                chunks.append(os.read(self.pipe, 2**20))
                more = bool(chunks[-1])
        *lines, self.unread = b"".join([self.unread, *chunks]).split(b"\n")
        return lines, more and len(self.unread) <= LONGEST_LINE

    def comes_on(self) -> None:
        """It measures, and has as much time for the next batch as a batch may take."""
        measurement = self.request.job.measurement
        patience = None if measurement is None else measurement.patience
        self.deadline = math.inf if patience is None else time.monotonic() + patience
        self.measuring = True

    def stop(self) -> None:
        """Has it end its measuring, and tell what it has measured so far."""
        if self.measuring and not self._reap(os.WNOHANG):
            os.kill(self.pid, signal.SIGINT)

    def is_over(self) -> bool:
        """Whether its time is up or it has ended."""
        return time.monotonic() > self.deadline or self._reap(os.WNOHANG)

    def _reap(self, options: int) -> bool:
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, options)
            self.exit_code = os.waitstatus_to_exitcode(status) if pid else None
        return self.exit_code is not None

    def failure(self) -> AnalysisError:
        """Why it has not answered to the end."""
        label = self.request.job.label
        if len(self.unread) > LONGEST_LINE:
            return self.nonsense()
        if time.monotonic() > self.deadline and not self._reap(os.WNOHANG):
            measurement = self.request.job.measurement
            if self.measuring and measurement is not None and measurement.patience is not None:
                return stuck(label, measurement.patience, self.target)
            return timed_out(label, self.request.timeout, self.target)
        self._reap(0)
        assert self.exit_code is not None
        return crashed(label, ending(self.exit_code), self.target)

    def nonsense(self) -> AnalysisError:
        return crashed(self.request.job.label, "sent an answer that cannot be read", self.target)

    def kill(self) -> None:
        """Ends it and every process it has started, and forgets it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)  # it may not have a group of its own yet
        self._reap(0)
        os.close(self.pipe)
