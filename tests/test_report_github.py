"""Workflow commands, taken apart by the rules of GitHub's runner."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import CLEAN, EMPTY, FINDINGS, FULL

from dropcheck.graph import Site
from dropcheck.report import render
from dropcheck.result import Report

UNESCAPED = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}


def unescape(text: str, *codes: str) -> str:
    return re.sub("|".join(codes), lambda match: UNESCAPED[match[0]], text)


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """Command, properties and message: properties end at the first ``::``, and are split at commas, then at ``=``."""
    assert line.startswith("::")
    head, _, message = line[2:].partition("::")
    command, _, rest = head.partition(" ")
    pairs = (pair.partition("=") for pair in rest.split(","))
    properties = {key: unescape(value, *UNESCAPED) for key, _, value in pairs}
    return command, properties, unescape(message, "%0D", "%0A", "%25")


def commands(report: Report) -> list[tuple[str, dict[str, str], str]]:
    return [parse(line) for line in render(report, "github").splitlines()]


def test_one_command_for_each_finding_error_and_model_left_out() -> None:
    found = commands(FULL)
    assert [command for command, _, _ in found] == [
        *("error", "warning", "notice", "warning"),
        *("error", "error"),
        *("error", "warning"),
        "warning",
    ]
    assert commands(CLEAN) == commands(EMPTY) == []


def test_a_finding_in_full() -> None:
    command, properties, message = commands(FULL)[0]
    assert command == "error"
    assert properties == {
        "file": "nets/stack.py",
        "line": "13",
        "endLine": "13",
        "col": "13",
        "endColumn": "44",
        "title": "DC101 dropout-before-batchnorm",
    }
    assert message.split("\n") == [
        FINDINGS[0].message,
        "blocks.0.drop → blocks.0.bn in nets/stack.py:Stack, Δ = 0.50, 8 occurrences",
        FINDINGS[0].help,
    ]


def test_columns_are_left_out_where_github_refuses_them() -> None:
    [(_, properties, _)] = commands(Report((replace(FINDINGS[0], site=Site("a.py", 3, 5, 6, 2)),)))
    assert {key: properties[key] for key in properties if key != "title"} == {
        "file": "a.py",
        "line": "3",
        "endLine": "6",
    }


def test_no_place_is_no_place() -> None:
    _, properties, _ = commands(FULL)[3]
    assert list(properties) == ["title"]


def test_what_is_not_a_finding_names_its_file() -> None:
    files = [properties.get("file") for _, properties, _ in commands(FULL)[4:]]
    assert files == ["nets/broken.py", "nets/old.py", "nets/broken.py", "nets/vit.py", None]
    titles = [properties["title"] for _, properties, _ in commands(FULL)[4:]]
    assert titles == [
        "import error: nets/broken.py",
        "syntax error: nets/old.py",
        "failed: nets/broken.py:Wide",
        "skipped: nets/vit.py:ViT",
        "opaque: nets.made:build('a:b', 100%)",
    ]


@pytest.mark.parametrize(
    "text", ["100%", "%0A", "%250A", "a:b,c::d", "two\nlines\r\nend", "x,line=99", "=", "::error::"]
)
def test_special_characters_survive(text: str) -> None:
    finding = replace(FINDINGS[0], message=text, name=text, site=Site(text, 1, 1, 1, 2))
    [(command, properties, message)] = commands(Report((finding,)))
    assert command == "error"
    assert (properties["file"], properties["title"]) == (text, f"DC101 {text}")
    assert message.startswith(f"{text}\n")


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.text("%0ADa:,=\n\r \x1b\u202e", min_size=1, max_size=12))
def test_one_finding_is_one_line(text: str) -> None:
    finding = replace(FINDINGS[0], message=text, name=text, help=text, op=text, site=Site(text, 1, 1, 1, 2))
    output = render(Report((finding,)), "github")
    assert output.count("\n") == 1
    assert output.startswith("::error file=")
    assert len(parse(output.rstrip("\n"))[1]) == 6
