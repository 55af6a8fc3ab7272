"""Whatever a linted file does to its process is an outcome: the others are analysed, and nothing reaches stdout."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropcheck.job import Feed, Job, Measurement, Outcome
from dropcheck.result import AnalysisError, ErrorKind, Status
from dropcheck.table import Progress
from dropcheck.worker import Worker
from dropcheck.worker.protocol import ending

NET = """
import os, signal, sys, time
from torch import nn
class Net(nn.Sequential):
    def __init__(self): super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4))
"""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(timeout=60.0, jobs=2) as one:
        yield one


Write = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path) -> Write:
    """Writes a file with a small network and gives the job for it; what is added runs at its import."""

    def write(added: str = "", name: str = "nets.py") -> Job:
        (tmp_path / name).write_text(NET + textwrap.dedent(added))
        return Job(name, path=str(tmp_path / name))

    return write


def run(worker: Worker, *jobs: Job) -> list[Outcome]:
    return list(worker.run(jobs))


def analysed(outcome: Outcome) -> list[str]:
    return [model.target for model in outcome.models if model.status is Status.ANALYSED]


def the_error(outcome: Outcome) -> AnalysisError:
    (error,) = outcome.errors
    return error


def test_graphs_come_back_whole(worker: Worker, job: Write) -> None:
    ((outcome),) = run(worker, job())
    (model,) = outcome.models
    assert (model.target, model.capture, model.input, outcome.errors) == ("nets.py:Net", "fx", "2x3", ())
    assert model.graph is not None
    assert [node.path for node in model.graph][1:3] == ["0", "1"]


def test_outcomes_keep_the_order_of_the_jobs(worker: Worker, job: Write) -> None:
    jobs = [job("time.sleep(0.4)", "slow.py"), *(job(name=f"n{number}.py") for number in range(5))]
    assert [analysed(outcome) for outcome in run(worker, *jobs)] == [[f"{one.label}:Net"] for one in jobs]


@pytest.mark.parametrize(
    ("added", "kind", "message"),
    [
        (
            "import not_installed\nfor name in not_installed.names: pass",
            ErrorKind.IMPORT,
            "importing it failed: ModuleNotFoundError: No module named 'not_ins",
        ),
        ("sys.exit('bye')", ErrorKind.IMPORT, "importing it failed: it calls sys.exit('bye') (nets.py, line 6)"),
        ("raise KeyboardInterrupt", ErrorKind.IMPORT, "importing it failed: KeyboardInterrupt (nets.py, line 6)"),
        ("raise MemoryError", ErrorKind.IMPORT, "importing it failed: MemoryError (nets.py, line 6)"),
        (
            "def deep(): deep()\ndeep()",
            ErrorKind.IMPORT,
            "importing it failed: RecursionError: maximum recursion depth",
        ),
        ("os._exit(3)", ErrorKind.CRASH, "its process ended itself with exit code 3 while it was imported"),
        ("os._exit(0)", ErrorKind.CRASH, "its process ended itself with exit code 0 while it was imported"),
        ("os.kill(0, signal.SIGTERM)", ErrorKind.CRASH, "its process was killed by SIGTERM while it was imported"),
        (
            "import ctypes; ctypes.string_at(0)",
            ErrorKind.CRASH,
            "its process was killed by SIGSEGV while it was imported",
        ),
        ("x = (", ErrorKind.SYNTAX, "line 6, column 5: '(' was never closed"),
    ],
)
def test_what_files_do_to_their_process(worker: Worker, job: Write, added: str, kind: ErrorKind, message: str) -> None:
    bad, good = run(worker, job(added), job(name="good.py"))
    error = the_error(bad)
    assert (error.path, error.kind) == ("nets.py", kind)
    assert error.message.startswith(message)
    assert error.hint
    assert "\n" not in error.message
    assert analysed(good) == ["good.py:Net"]


def test_a_crash_names_the_model_and_keeps_those_before_it(worker: Worker, job: Write) -> None:
    source = """
        class Wild(nn.Module):
            def __init__(self): os.kill(os.getpid(), signal.SIGKILL)
            def forward(self, x): return x
    """
    (outcome,) = run(worker, job(source))
    assert analysed(outcome) == ["nets.py:Net"]
    assert (
        the_error(outcome).message == "its process was killed by SIGKILL (out of memory?) while busy with nets.py:Wild"
    )


def test_time_is_limited_and_everything_started_ends(worker: Worker, job: Write, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    endless = job(
        f"""
        if os.fork() == 0:
            while True:
                with open({str(marks)!r}, "a") as file: print(".", file=file, end="", flush=True)
                time.sleep(0.05)
        class Loop(nn.Module):
            def forward(self, x):
                while True: pass
        """
    )
    worker.timeout = 1.5
    try:
        outcome, after = run(worker, endless, job(name="good.py"))
    finally:
        worker.timeout = 60.0
    assert the_error(outcome) == AnalysisError(
        "nets.py",
        ErrorKind.TIMEOUT,
        "stopped after 1.5 s, busy with nets.py:Loop",
        "give it more time with --timeout SECONDS; training or downloads belong under if __name__ == '__main__':",
    )
    assert analysed(outcome) == ["nets.py:Net"]
    assert analysed(after) == ["good.py:Net"]
    written = marks.stat().st_size
    run(worker, job("time.sleep(0.2)"))
    assert marks.stat().st_size == written


def test_a_process_left_behind_holds_nothing_up(worker: Worker, job: Write) -> None:
    left, forked = run(
        worker,
        job("if os.fork() == 0:\n    time.sleep(600)\nos._exit(4)", "left.py"),
        job("os.fork()", "forked.py"),
    )
    assert the_error(left).message == "its process ended itself with exit code 4 while it was imported"
    assert analysed(forked) == ["forked.py:Net"]
    assert forked.errors == ()


@pytest.mark.parametrize(
    ("written", "kind", "message"),
    [
        (b"nonsense\n", ErrorKind.CRASH, "its process sent an answer that cannot be read while it was imported"),
        (b'model {"target": 3}\n', ErrorKind.INTERNAL, "the worker's answer cannot be read: CapturedModel: "),
        (b"model [[[\n", ErrorKind.INTERNAL, "the worker's answer cannot be read: "),
        (
            b"error " + b"[" * 100_000 + b"\n",
            ErrorKind.INTERNAL,
            "the worker's answer cannot be read: nested too deeply",
        ),
    ],
)
def test_answers_that_are_none(worker: Worker, job: Write, written: bytes, kind: ErrorKind, message: str) -> None:
    forged = f"""
        for descriptor in range(3, 40):
            try: os.write(descriptor, {written[:30]!r} + b"[" * {max(0, len(written) - 31)} + {written[30:][-1:]!r})
            except OSError: pass
    """
    bad, good = run(worker, job(forged), job(name="good.py"))
    assert bad.errors[0].kind is kind
    assert bad.errors[0].message.startswith(message)
    assert analysed(good) == ["good.py:Net"]


def test_a_worker_that_is_killed_is_replaced(job: Write) -> None:
    with Worker(timeout=60.0) as worker:
        killer, good = run(worker, job("os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"), job(name="good.py"))
    assert the_error(killer).message.startswith("its process was killed by SIGKILL")
    assert analysed(good) == ["good.py:Net"]


@pytest.mark.parametrize("fork", [True, False])
def test_a_torch_that_cannot_be_imported_is_told_for_every_job(
    job: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: bool
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise OSError('libtorch.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with Worker(timeout=60.0, fork=fork) as worker:
        outcomes = run(worker, job(name="one.py"), job(name="two.py"))
    assert [(the_error(outcome).path, the_error(outcome).kind) for outcome in outcomes] == [
        ("one.py", ErrorKind.IMPORT),
        ("two.py", ErrorKind.IMPORT),
    ]
    assert the_error(outcomes[0]).message == (
        "torch cannot be imported: OSError: libtorch.so: cannot open shared object file"
    )


def test_an_installation_that_is_broken_is_not_blamed_on_torch(
    job: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text("import sys; sys.modules['dropcheck.load'] = None")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with Worker(timeout=60.0) as worker:
        (outcome,) = run(worker, job(name="one.py"))
    assert the_error(outcome).kind == ErrorKind.INTERNAL
    assert the_error(outcome).message.startswith("dropcheck cannot start its worker: ModuleNotFoundError")


def test_a_torch_that_takes_its_process_down_is_told_too(
    job: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("import os; os._exit(127)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with Worker(timeout=60.0) as worker:
        (outcome,) = run(worker, job())
    assert the_error(outcome).message == (
        "torch cannot be imported: the process that tried ended itself with exit code 127"
    )


PROGRAM = """
import sys
from dropcheck.job import Job
from dropcheck.table import Progress
from dropcheck.worker import Worker
with Worker(timeout=60.0, fork=sys.argv[2] == "fork") as worker:
    for outcome in worker.run([Job("nets.py", path=sys.argv[1])]):
        print([model.status.value for model in outcome.models], len(outcome.errors), "torch" in sys.modules)
"""


@pytest.mark.parametrize("way", ["fork", "alone"])
def test_what_files_print_goes_to_stderr(job: Write, tmp_path: Path, way: str) -> None:
    noisy = job(
        """
        print("printed é ✓")
        os.write(1, b"written\\n")
        os.system("echo shouted")
        assert sys.stdin.read() == "" and os.read(0, 1) == b""
        """
    )
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(noisy.path), way],
        capture_output=True,
        cwd=tmp_path,
        input=b"nothing for the file",
        env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "ascii"},
    )
    assert ran.stdout == b"['analysed'] 0 False\n", ran.stderr.decode()
    assert {b"printed \\xe9 \\u2713", b"written", b"shouted"} <= set(ran.stderr.splitlines())


def test_files_in_the_working_directory_do_not_pass_for_libraries(
    job: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "selectors", "dropcheck"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    with Worker(timeout=60.0) as worker:
        (outcome,) = run(worker, job())
    assert analysed(outcome) == ["nets.py:Net"]


def test_no_file_leaves_bytecode_behind(worker: Worker, job: Write, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("")
    run(worker, job("import neighbour"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["neighbour.py", "nets.py"]


def test_a_worker_without_jobs_ends_quietly() -> None:
    with Worker(timeout=60.0) as worker:
        assert run(worker) == []


def test_endings_are_named() -> None:
    assert ending(-11) == "was killed by SIGSEGV"
    assert ending(-64) in ("was killed by signal 64", "was killed by SIGRTMAX")
    assert ending(1) == "ended itself with exit code 1"


MEASURED = """
import time, torch
from torch import nn
net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
def batches(): return [torch.randn(8, 3) for _ in range(3)]
def hanging():
    yield torch.randn(8, 3)
    yield torch.randn(8, 3)
    time.sleep(60)
"""


def measuring(folder: Path, symbol: str, patience: float | None = None) -> Job:
    file = str(folder / "measured.py")
    Path(file).write_text(MEASURED)
    feed = Feed("measured.py", path=file, symbol=symbol)
    return Job("measured.py", file, symbol="net", measurement=Measurement(feed, device="cpu", patience=patience))


def test_measuring_is_heard_and_ends_with_a_table(tmp_path: Path) -> None:
    heard: list[Progress] = []
    with Worker(timeout=60.0, hear=heard.append) as worker:
        (outcome,) = run(worker, measuring(tmp_path, "batches"))
        assert not worker.stop()
    assert (outcome.errors, [one.done for one in heard]) == ((), [0, 1, 2, 3])
    assert outcome.table is not None
    assert [norm.name for norm in outcome.table] == ["2"]


def test_a_batch_that_takes_too_long_ends_the_measuring(tmp_path: Path) -> None:
    with Worker(timeout=60.0) as worker:
        (outcome,) = run(worker, measuring(tmp_path, "hanging", patience=4.0))
    error = the_error(outcome)
    assert (error.kind, outcome.table) == (ErrorKind.TIMEOUT, None)
    assert error.message == "stopped measuring measured.py:net: a batch took more than 4 s"


def test_where_processes_cannot_be_forked_shifts_are_measured_too(tmp_path: Path) -> None:
    with Worker(timeout=60.0, fork=False) as worker:
        (outcome,) = run(worker, measuring(tmp_path, "batches"))
    assert outcome.errors == ()
    assert outcome.table is not None
