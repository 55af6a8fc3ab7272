"""The commands. Only this package prints or exits."""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from dropcheck import __version__
from dropcheck.cli.documentation import explain, rules
from dropcheck.cli.graph import graph
from dropcheck.cli.linting import lint
from dropcheck.cli.probe import probe
from dropcheck.cli.recalibrate import recalibrate
from dropcheck.cli.statistics import stats
from dropcheck.cli.terminal import INTERRUPTED, say, show
from dropcheck.config import ConfigError
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
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: whatever else goes wrong is a fault of ours
        if {"--verbose", "-v"} & set(sys.argv):
            traceback.print_exc()
        say(f"dropcheck: internal error: {type(error).__name__}: {error}; please report it, with --verbose")
        return 3
    if code == INTERRUPTED:
        say("dropcheck: interrupted")
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        show(f"dropcheck {__version__}\n")
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
        say(context.get_help())
        return 2
    return 0


for command in (lint, probe, recalibrate, stats, graph, rules, explain):
    app.command()(command)


def _refuse(message: str) -> int:
    say(f"dropcheck: {message}")
    return 2
