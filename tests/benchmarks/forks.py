"""Work in processes of its own: forked, with a time limit, several at a time. For POSIX systems."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Answer = Mapping[str, Any]
_CHUNK = 1 << 16


@dataclass(slots=True)
class _Child:
    pid: int
    reader: int
    deadline: float
    heard: bytes = b""


def forked(
    tasks: Iterable[Callable[[], Answer]], jobs: int, limit: float, lost: Callable[[int, str], Answer]
) -> Iterator[Answer]:
    """What each task answers (as JSON can say it), in the order in which they end, at most ``jobs`` at a time.

    A task that has not answered after ``limit`` seconds, or whose process dies, is answered for by ``lost``, which is
    told its number and what happened.
    """
    waiting, running = enumerate(tasks), dict[int, tuple[int, _Child]]()
    while True:
        while len(running) < jobs:
            number, task = next(waiting, (None, None))
            if number is None or task is None:
                break
            child = _start(task, limit)
            running[child.reader] = (number, child)
        if not running:
            return
        for reader in _ready(child for _, child in running.values()):
            number, child = running[reader]
            ending = _heard(child)
            if ending is not None:
                del running[reader]
                yield json.loads(child.heard) if not ending else lost(number, ending)


def _start(task: Callable[[], Answer], limit: float) -> _Child:
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads, none of which the child needs
        pid = os.fork()
    if pid == 0:
        _answer(task, writer)
    os.close(writer)
    return _Child(pid, reader, time.monotonic() + limit)


def _answer(task: Callable[[], Answer], writer: int) -> None:
    """In the child: answers and ends the process, not by way of exit handlers, which are foreign code too."""
    try:
        told = json.dumps(task()).encode()
        while told:
            told = told[os.write(writer, told) :]
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing may return into the code of the parent
        traceback.print_exc()
        os._exit(1)


def _ready(children: Iterable[_Child]) -> list[int]:
    """The pipes that can be read, or whose process is out of time; waits until there are some."""
    deadlines = {child.reader: child.deadline for child in children}
    ready, _, _ = select.select(list(deadlines), [], [], max(0.0, min(deadlines.values()) - time.monotonic()))
    late = [reader for reader, deadline in deadlines.items() if deadline <= time.monotonic()]
    return list(dict.fromkeys((*ready, *late)))


def _heard(child: _Child) -> str | None:
    """None while there may be more; then why there is no answer, empty if there is one."""
    if child.deadline <= time.monotonic():
        os.kill(child.pid, signal.SIGKILL)
        ending = "no answer in time"
    else:
        chunk = os.read(child.reader, _CHUNK)
        child.heard += chunk
        if chunk:
            return None
        ending = ""
    os.close(child.reader)
    _, status = os.waitpid(child.pid, 0)
    return ending or (f"its process ended with status {status}" if status else "")
