"""What linted code prints while its models are built and run over and over."""

from __future__ import annotations

import io
import sys

import pytest

from dropcheck.worker.echo import MOST_LINES, Echo, echoed


def test_a_line_is_passed_on_once_whatever_it_is_written_in() -> None:
    stream = io.StringIO()
    echo = Echo(stream, "nets.py")
    for _ in range(3):
        print("building", 3, file=echo)
        echo.write("50%\r100%\n\n")
    echo.write("and then")
    assert stream.getvalue() == "building 3\n50%\n100%\n"
    echo.finish()
    assert stream.getvalue().endswith("100%\nand then\n")


def test_what_prints_without_end_is_cut_off_by_name() -> None:
    stream = io.StringIO()
    echo = Echo(stream, "nets.py")
    for number in range(1000):
        print(number, file=echo)
    assert stream.getvalue().split("\n")[MOST_LINES - 1 :] == [f"{MOST_LINES - 1}", "nets.py prints more than this", ""]


def test_both_streams_are_echoed_to_standard_error_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with echoed("nets.py"):
        sys.stdout.write("one\n")
        sys.stderr.write("one\ntwo")
    assert (out.getvalue(), err.getvalue()) == ("", "one\ntwo\n")
    assert (sys.stdout, sys.stderr) == (out, err)
