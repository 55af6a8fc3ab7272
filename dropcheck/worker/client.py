"""The main process's side: it starts the worker, hands out jobs and collects answers. Never imports torch."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from dropcheck.job import CapturedModel, Job, Outcome
from dropcheck.result import AnalysisError, ErrorKind
from dropcheck.table import Progress, ShiftTable
from dropcheck.worker.process import Process, for_job, start
from dropcheck.worker.protocol import Request, crashed, ending, line, parsed, timed_out

_START_SECONDS = 60.0


class Worker:
    """A process that imports torch, from the moment this is made, and analyses jobs in children of its own.

    ``timeout``: seconds a job may take; ``jobs``: how many run at a time. Where processes cannot be forked
    (``fork=False``) each job gets a fresh process instead, one after the other. A context manager: on leaving,
    everything is ended. ``hear`` is told how far a job that measures is.
    """

    def __init__(
        self,
        timeout: float,
        jobs: int = 1,
        *,
        fork: bool = hasattr(os, "fork"),
        hear: Callable[[Progress], object] = lambda _: None,
    ) -> None:
        self.timeout, self._jobs, self._fork, self._hear = timeout, max(1, jobs), fork, hear
        self._measuring = self._stopping = False
        self._process: Process | None = Process() if fork else None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker and whatever still runs in it."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def stop(self) -> bool:
        """Has what is being measured come to an end, with what there is so far; False if nothing is.

        The second time, too. May be called in a signal handler.
        """
        if not self._measuring or self._stopping or self._process is None:
            return False
        self._stopping = self._process.interrupt(line("stop"))
        return self._stopping

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of each job, in the order of the jobs. Whatever foreign code does, it is an outcome."""
        if not self._fork:
            yield from (_alone(Request(number, self.timeout, job)) for number, job in enumerate(jobs))
            return
        waiting = deque(enumerate(jobs))
        running: dict[int, _Answer] = {}
        finished: dict[int, Outcome] = {}
        for number in range(len(jobs)):
            while number not in finished:
                while waiting and len(running) < self._jobs:
                    index, job = waiting.popleft()
                    running[index] = _Answer(job, self._comes_on)
                    self._ready().send(line("job", Request(index, self.timeout, job)))
                finished.update(self._step(running))
            yield finished.pop(number)

    def _comes_on(self, progress: Progress) -> None:
        self._measuring = progress.done > 0
        self._hear(progress)

    def _ready(self) -> Process:
        """The worker; a new one if the last has died of a job."""
        if self._process is None:
            self._process = Process()
        return self._process

    def _step(self, running: dict[int, _Answer]) -> dict[int, Outcome]:
        """Waits for one line from the worker and gives the outcomes it completes, taken out of ``running``."""
        process = self._ready()
        head, _, rest = process.readline().partition(b" ")
        answer = running.get(int(head)) if head.isdigit() else None
        if answer is not None and not answer.complete_with(rest):
            return {}
        self._measuring = False
        if answer is not None:
            return {int(head): running.pop(int(head)).outcome()}
        outcomes = {number: one.outcome(process.failure(one.job)) for number, one in running.items()}
        running.clear()
        if not process.is_broken:
            self.close()
        return outcomes


@dataclass(slots=True)
class _Answer:
    """What has been heard about one job."""

    job: Job
    hear: Callable[[Progress], object] = lambda _: None
    models: list[CapturedModel] = field(default_factory=list)
    errors: list[AnalysisError] = field(default_factory=list)
    table: ShiftTable | None = None

    def complete_with(self, heard: bytes) -> bool:
        """Takes one line in; True if it was the last."""
        word, _, document = heard.partition(b" ")
        try:
            if word == b"model":
                self.models.append(parsed(CapturedModel, document))
            elif word == b"error":
                self.errors.append(parsed(AnalysisError, document))
            elif word == b"progress":
                self.hear(parsed(Progress, document))
            elif word == b"table":
                self.table = parsed(ShiftTable, document)
            elif word != b"end":
                raise ValueError(f"unexpected {word[:20]!r}")
        except ValueError as error:
            self.errors.append(
                AnalysisError(
                    self.job.label,
                    ErrorKind.INTERNAL,
                    f"the worker's answer cannot be read: {error}",
                    "this is a fault of dropcheck, or the file wrote into a pipe that is not its own; please report it",
                )
            )
        return word == b"end"

    def outcome(self, error: AnalysisError | None = None) -> Outcome:
        return Outcome(tuple(self.models), (*self.errors, *([] if error is None else [error])), self.table)


def _alone(request: Request) -> Outcome:
    """The outcome of one job in a process of its own."""
    process = start("--alone")
    answer, error = _Answer(request.job), None
    try:
        seconds = None if request.job.measurement is not None else request.timeout + _START_SECONDS
        heard, _ = process.communicate(line("job", request), timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        heard, _ = process.communicate()
        error = timed_out(request.job.label, request.timeout, None)
    finally:
        process.kill()
    complete = False
    for said in heard.split(b"\n"):
        word, _, document = said.partition(b" ")
        if word == b"broken":
            error = for_job(parsed(AnalysisError, document), request.job)
        elif word in (b"model", b"error", b"table", b"end"):
            complete = answer.complete_with(said)
    if not complete and error is None:
        error = crashed(request.job.label, ending(process.returncode), None)
    return answer.outcome(error)
