"""Report → str, one file per format. A new format is one file here and its name in ``FORMATS``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from dropcheck.report.view import ReadSource, View, read_file
from dropcheck.result import Report

__all__ = ["FORMATS", "ReadSource", "View", "read_file", "render", "renderer"]

FORMATS = ("text", "concise", "json", "sarif", "github")
"""Each is a module of this package with ``render(report, view)``, imported when it is asked for."""


def render(
    report: Report,
    format: str,
    *,
    color: bool = False,
    width: int = 80,
    quiet: bool = False,
    verbose: bool = False,
    errors: bool = True,
    read_source: ReadSource = read_file,
) -> str:
    """The report in one of ``FORMATS``: empty, or whole lines, each with its newline.

    ``color``, ``width``, ``quiet``, ``verbose`` and ``read_source`` (for code frames) concern ``text`` only. Without
    ``errors``, ``text`` and ``concise`` leave it to the caller to say what could not be analysed.

    Raises:
        ValueError: there is no such format; the message names those there are.
    """
    return renderer(format)(report, View(color, width, quiet, verbose, errors, read_source))


def renderer(format: str) -> Callable[[Report, View], str]:
    """The function that renders one of ``FORMATS``, imported with what it needs.

    Raises:
        ValueError: there is no such format; the message names those there are.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")
    render: Callable[[Report, View], str] = import_module(f"dropcheck.report.{format}").render
    return render
