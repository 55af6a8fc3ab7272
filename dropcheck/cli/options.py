"""The options of the commands: how they are written, checked and described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dropcheck.config import FailOn
from dropcheck.nearest import suggest
from dropcheck.output import check_writable
from dropcheck.report import FORMATS
from dropcheck.source import parse_input

COLORS = ("auto", "always", "never")


def one_of(words: Sequence[str]) -> Callable[[str | None], str | None]:
    def check(word: str | None) -> str | None:
        if word is not None and word not in words:
            raise typer.BadParameter(f"{word!r}; {suggest(word, words)}")
        return word

    return check


def positive_seconds(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0.0:
        raise typer.BadParameter(f"{seconds:g}; expected a positive number of seconds")
    return seconds


def _input_spec(spec: str | None) -> str | None:
    if spec is not None:
        parse_input(spec)
    return spec


def _weights_file(file: str | None) -> str | None:
    if file is not None and not Path(file).is_file():
        raise typer.BadParameter(f"{file} is a directory" if Path(file).is_dir() else f"there is no file {file}")
    return file


def _report_file(file: Path | None) -> Path | None:
    if file is not None:
        try:
            check_writable(file)
        except OSError as error:
            raise typer.BadParameter(str(error)) from error
    return file


Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH|TARGET",
        show_default=False,
        help="Files, directories, or targets: nets.py:Net, package.nets:Net, 'nets.py:Net(depth=20)'. "
        "Without any, the current directory.",
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", show_default=False, help="nets.py:Net, package.nets:Net, 'nets.py:Net(depth=20)'."
    ),
]
Input = Annotated[
    str | None, typer.Option(callback=_input_spec, metavar="SPEC", help="Example input: 2x3x32x32, 2x128:int64.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        callback=_weights_file,
        metavar="FILE",
        help="Trained weights of the one TARGET: a state dict (.pt, .pth …) or .safetensors.",
    ),
]
Select = Annotated[list[str] | None, typer.Option(metavar="CODES", help="Run only the rules with these prefixes.")]
Ignore = Annotated[list[str] | None, typer.Option(metavar="CODES", help="Leave out the rules with these prefixes.")]
Format = Annotated[str, typer.Option(callback=one_of(FORMATS), metavar="|".join(FORMATS), help="How to report.")]
Output = Annotated[
    Path | None, typer.Option(callback=_report_file, metavar="FILE", help="Write the report there, not to stdout.")
]
Threshold = Annotated[
    str | None,
    typer.Option(
        callback=one_of(list(FailOn)),
        metavar="|".join(FailOn),
        help="The least severity that makes the exit code 1.  [default: warning]",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        callback=positive_seconds, metavar="SECONDS", help="The longest that one file may take.  [default: 60]"
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, metavar="N", help="Files analysed at a time.  [default: number of cores]"),
]
Static = Annotated[
    bool, typer.Option("--static", help="Never import or run the linted code: only the rules about source text run.")
]
Baseline = Annotated[Path | None, typer.Option(metavar="FILE", help="Report only findings that are not in this file.")]
WriteBaseline = Annotated[
    Path | None, typer.Option(callback=_report_file, metavar="FILE", help="Keep all findings in this file as known.")
]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="Take the configuration from there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Report findings and failures, nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Report every norm of every model, and tracebacks.")]
Color = Annotated[str, typer.Option(callback=one_of(COLORS), metavar="|".join(COLORS), help="When to use colours.")]
Listing = Annotated[str, typer.Option(callback=one_of(("text", "json")), metavar="text|json", help="How to list them.")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="The code of a rule: DC101.")]
