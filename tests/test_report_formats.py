"""Whole reports in every format against goldens, and what holds for all formats alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import CLEAN, EMPTY, FINDINGS, FULL, SOURCES, STACK

from dropcheck.graph import Site
from dropcheck.report import FORMATS, read_file, render
from dropcheck.result import AnalysisError, ErrorKind, ModelReport, Report, Status
from dropcheck.rule import Severity

VIEWS: dict[str, dict[str, object]] = {
    "verbose": {"verbose": True},
    "quiet": {"quiet": True},
    "color": {"color": True},
    "narrow": {"width": 48},
    "wide": {"width": 120},
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("name", "report"), [("full", FULL), ("clean", CLEAN), ("empty", EMPTY)])
def test_golden(golden: Callable[[str, str], None], name: str, report: Report, format: str) -> None:
    golden(f"report/{name}.{format}", render(report, format, read_source=SOURCES.get))


@pytest.mark.parametrize("view", VIEWS)
def test_golden_views_of_the_text(golden: Callable[[str, str], None], view: str) -> None:
    golden(f"report/full.{view}.text", render(FULL, "text", read_source=SOURCES.get, **VIEWS[view]))  # type: ignore[arg-type]


def test_unknown_format_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown format 'xml': expected one of text, concise, json, sarif, github"):
        render(EMPTY, "xml")


@pytest.mark.parametrize("format", FORMATS)
def test_a_report_is_whole_lines_or_nothing(format: str) -> None:
    for report in (FULL, CLEAN, EMPTY):
        text = render(report, format, read_source=SOURCES.get)
        assert text == "" or (text.endswith("\n") and not text.startswith("\n"))
        assert all(line == line.rstrip() for line in text.split("\n"))


def test_environment_and_directory_change_nothing(tmp_path: Path) -> None:
    """Every format in a process with a hostile environment, against this one."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from report_samples import FULL, SOURCES\n"
        "from dropcheck.report import FORMATS, render\n"
        "text = ''.join(render(FULL, format, read_source=SOURCES.get) for format in FORMATS)\n"
        "sys.stdout.buffer.write(text.encode())"
    )
    environment = {"COLUMNS": "200", "FORCE_COLOR": "1", "TERM": "xterm-256color", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    there = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout.decode()
    assert there == "".join(render(FULL, format, read_source=SOURCES.get) for format in FORMATS)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_tells_of_every_finding_error_and_model_left_out(format: str) -> None:
    text = re.sub(r"\s+", " ", render(FULL, format, read_source=SOURCES.get))
    told = ["DC101", "DC301", "DC999", "No module named 'apex'", "is not Python 3", "6n + 4", "config", "mamba.step"]
    assert [word for word in told if word not in text] == []


@pytest.mark.parametrize("format", [*FORMATS])
def test_findings_keep_the_order_of_the_report(format: str) -> None:
    text = render(FULL, format, read_source=SOURCES.get, verbose=True)
    order = [text.index(words) for words in ("2.00x the variance", "1.11x the variance", "noise variance", "something")]
    assert order == sorted(order)


@pytest.mark.parametrize("format", FORMATS)
def test_a_model_that_failed_is_not_told_twice(format: str) -> None:
    """Capture reports a failure as a model and as an error; readers need it once."""
    message = "ValueError: depth should be 6n + 4"
    model = ModelReport(target="nets.py:Net", status=Status.FAILED, reason=message)
    for path in ("nets.py:Net", "nets.py"):
        report = Report(models=(model,), errors=(AnalysisError(path, ErrorKind.CONSTRUCT, message, ""),), files=1)
        assert render(report, format).count(message) == (2 if format == "json" else 1)


# Hostile text: terminal escapes, rich markup, bidirectional overrides, line breaks of all kinds, workflow commands.
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "[red]markup[/red] :smile: [link=http://x]y[/link]",
    "\u202etxet\u202c\u2066\u200b\ufeff",
    "a\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h",
    "::error::x\n::add-mask::y",
    "\x9b31m\x07\x00\x7f",
    "\ud800 \udc80",
    "%0A 100% , : {0} [a](http://b) </script>",
    "\t\ttabs",
    "漢字 👩‍👩‍👧 é",
)
hostile_text = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30)).map(lambda text: text or "-")


def poisoned(text: str) -> Report:
    """A report with ``text`` wherever text of the user's can stand."""
    site = Site(f"{text}.py", 1, 2, 1, 5)
    finding = replace(
        FINDINGS[0], message=text, help=text, site=site, model=f"{text}.py:{text}", op=text, norm=text, name=text
    )
    model = replace(
        STACK,
        target=finding.model,
        arguments=text,
        input=text,
        opaque=(text,),
        norms=tuple(replace(norm, name=text, kind=text, site=site) for norm in STACK.norms),
        dropouts=tuple(replace(dropout, name=text, kind=text, site=site) for dropout in STACK.dropouts),
    )
    skipped = ModelReport(target=f"{text}.{text}", status=Status.SKIPPED, reason=text)
    error = AnalysisError(text, ErrorKind.CRASH, text, text, details=text)
    return Report((finding, replace(finding, site=None)), (model, skipped), (error,), files=1)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(hostile_text, st.sampled_from([*FORMATS]))
def test_hostile_text_reaches_no_terminal_and_no_parser(text: str, format: str) -> None:
    output = render(poisoned(text), format, read_source=lambda path: f"{text}\n{text}\n{text}", verbose=True)
    output.encode()
    acting = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert [char for char in output if char != "\n" and unicodedata.category(char) in acting] == []
    if format in {"json", "sarif"}:
        json.loads(output)
    if format == "github":
        assert len(output.splitlines()) == 5


def test_markup_is_text() -> None:
    """rich's markup and emoji codes come out as they went in."""
    written = "[red]markup[/red] :smile: [/] [link=http://x]y[/link]"
    finding = replace(FINDINGS[2], message=written)
    assert written in render(Report((finding,)), "text", color=True, width=200, read_source=SOURCES.get)


def test_read_file_follows_the_declared_encoding(tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes("# coding: latin-1\nname = 'é'\n".encode("latin-1"))
    assert read_file(str(file)) == "# coding: latin-1\nname = 'é'\n"


@pytest.mark.parametrize("content", [b"# coding: nonsense\n", b"name = '\xff'\n", None])
def test_read_file_of_what_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "broken.py"
    if content is not None:
        file.write_bytes(content)
    assert read_file(str(file)) is None


def test_severities_of_the_sample_are_all_there_are() -> None:
    """The goldens would not show a severity that no finding of the sample has."""
    assert {finding.severity for finding in FULL.findings} == set(Severity)
    assert {model.status for model in FULL.models} == set(Status)
