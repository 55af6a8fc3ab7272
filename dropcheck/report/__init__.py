"""Report → str, one file per format. A new format is one file here and one row in ``FORMATS``."""

from __future__ import annotations

from collections.abc import Callable

from dropcheck.report import concise, github, json, sarif, text
from dropcheck.report.view import ReadSource, View, read_file
from dropcheck.result import Report

__all__ = ["FORMATS", "ReadSource", "View", "read_file", "render"]

FORMATS: dict[str, Callable[[Report, View], str]] = {
    "text": text.render,
    "concise": concise.render,
    "json": json.render,
    "sarif": sarif.render,
    "github": github.render,
}


def render(
    report: Report,
    format: str,
    *,
    color: bool = False,
    width: int = 80,
    quiet: bool = False,
    verbose: bool = False,
    read_source: ReadSource = read_file,
) -> str:
    """The report in one of ``FORMATS``: empty, or whole lines, each with its newline.

    ``color``, ``width``, ``quiet``, ``verbose`` and ``read_source`` (for code frames) concern ``text`` only.

    Raises:
        ValueError: there is no such format; the message names those there are.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[format](report, View(color, width, quiet, verbose, read_source))
