"""The commands. Only this module prints or exits."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from dataclasses import asdict
from functools import partial
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from dropcheck import __version__, options
from dropcheck.config import ConfigError, FailOn, load_settings
from dropcheck.nearest import suggest
from dropcheck.output import write_atomically
from dropcheck.report import render, renderer
from dropcheck.report.concise import error_line
from dropcheck.report.verdict import verdict
from dropcheck.report.wording import json_text
from dropcheck.result import ErrorKind, Report
from dropcheck.rule import Severity
from dropcheck.source import UsageError

# click's UsageError, wherever this release of typer keeps click.
_CommandLineError: Any = typer.BadParameter.__base__

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> NoReturn:
    """Runs the command line and exits: 0, 1 findings, 2 wrong usage, 3 not everything analysed, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    try:
        code: int = app(standalone_mode=False, prog_name="dropcheck") or 0
    except _CommandLineError as error:
        see = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        return _refuse(f"{error.format_message()}{see}")
    except (ConfigError, UsageError) as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:  # noqa: BLE001 - the last resort: whatever else goes wrong is a fault of ours
        if {"--verbose", "-v"} & set(sys.argv):
            traceback.print_exc()
        _say(f"dropcheck: internal error: {type(error).__name__}: {error}; please report it, with --verbose")
        return 3
    if code == 130:
        _say("dropcheck: interrupted")
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        _print(f"dropcheck {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def dropcheck(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> int:
    """Find where dropout and batch normalisation harm each other in PyTorch models, and by how much."""
    if context.invoked_subcommand is None:
        _say(context.get_help())
        return 2
    return 0


@app.command()
def lint(
    targets: options.Targets = None,
    input: options.Input = None,
    weights: options.Weights = None,
    select: options.Select = None,
    ignore: options.Ignore = None,
    format: options.Format = "text",
    output: options.Output = None,
    fail_on: options.Threshold = None,
    timeout: options.Timeout = None,
    jobs: options.Jobs = None,
    config: options.Config = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Analyse models and report what harms them.

    Exit code: 0 nothing to report, 1 findings, 2 wrong usage, 3 something could not be analysed.
    """
    from dropcheck.run import lint_targets

    settings = load_settings(config, Path.cwd()).overruled(select, ignore, fail_on, timeout)
    at_once = jobs or os.cpu_count() or 1
    meanwhile = partial(renderer, format)
    wanted = targets or ["."]
    report = lint_targets(wanted, settings, input=input, weights=weights, jobs=at_once, meanwhile=meanwhile)
    _explain_gaps(report, verbose=verbose, verdict_wanted=not quiet and format != "text")
    text = render(
        report,
        format,
        color=_colored(color, output),
        width=shutil.get_terminal_size().columns,
        quiet=quiet,
        verbose=verbose,
        errors=False,
    )
    _deliver(text, output)
    return _exit_code(report, settings.fail_on)


@app.command()
def stats(
    target: options.Target,
    weights: options.Weights = None,
    format: options.Listing = "text",
    output: options.Output = None,
    timeout: options.Timeout = None,
    config: options.Config = None,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Show how far each layer's weights agree in sign: cos²θ and d·cos²θ.

    Dropout ahead of a layer shifts the batch norm behind it the less, the larger d·cos²θ is (Li et al. 2019, Table 1).
    """
    from dropcheck.run import statistics_of

    report = statistics_of(target, load_settings(config, Path.cwd()).overruled(timeout=timeout), weights=weights)
    from dropcheck.report.stats import as_json, as_text

    _explain_gaps(report, verbose=verbose, verdict_wanted=True)
    width = shutil.get_terminal_size().columns
    text = as_json(report) if format == "json" else as_text(report, color=_colored(color, output), width=width)
    _deliver(text, output)
    return _exit_code(report, FailOn.NEVER)


@app.command()
def rules(format: options.Listing = "text") -> int:
    """List the rules."""
    from dropcheck.rules import BUILTIN

    known = [rule.info() for rule in BUILTIN]
    if format == "json":
        _print(json_text([asdict(rule) for rule in known]))
    else:
        widest = max(len(rule.name) for rule in known)
        _print("".join(f"{rule.code}  {rule.name:<{widest}}  {rule.summary}\n" for rule in known))
    return 0


@app.command()
def explain(code: options.Code, color: options.Color = "auto") -> int:
    """Print the documentation of one rule."""
    from dropcheck.rules import BUILTIN

    known = {rule.code: rule.info() for rule in BUILTIN}
    rule = known.get(code.upper())
    if rule is None:
        raise UsageError(f"there is no rule {code!r}; {suggest(code, known)}")
    page = f"# {rule.code} {rule.name}\n\n{rule.documentation}\n"
    _print(_as_markdown(page) if _colored(color, None) else page)
    return 0


def _as_markdown(text: str) -> str:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(file=StringIO(), force_terminal=True, width=min(shutil.get_terminal_size().columns, 100))
    with console.capture() as capture:
        console.print(Markdown(text))
    return capture.get()


def _colored(when: str, output: Path | None) -> bool:
    if when != "auto":
        return when == "always"
    return output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _explain_gaps(report: Report, *, verbose: bool, verdict_wanted: bool) -> None:
    """What the findings do not cover, on stderr: a line for each thing that could not be analysed, or for no model."""
    for error in report.errors:
        _say(error_line(error))
        if verbose and error.details:
            _say(error.details.rstrip())
    if verdict_wanted and not (report.models or report.errors):
        _say(f"dropcheck: {verdict(report)}")


def _exit_code(report: Report, fail_on: FailOn) -> int:
    if any(error.kind is ErrorKind.CONFIG for error in report.errors):
        return 2
    if report.errors or report.unanalysed:
        return 3
    if fail_on is FailOn.NEVER:
        return 0
    return int(any(finding.severity.rank >= Severity(fail_on).rank for finding in report.findings))


def _deliver(text: str, file: Path | None) -> None:
    if file is None:
        _print(text)
        return
    try:
        write_atomically(file, text)
    except OSError as error:
        raise UsageError(f"{file}: the report cannot be written: {error.strerror}") from error


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough; without this the interpreter would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _refuse(message: str) -> int:
    _say(f"dropcheck: {message}")
    return 2
