"""``dropcheck graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dropcheck.cli import options
from dropcheck.cli.terminal import deliver, exit_code, explain_gaps, is_colored
from dropcheck.config import FailOn, load_settings
from dropcheck.source import UsageError

_FORMATS = ("text", "mermaid", "dot", "svg")

Drawing = Annotated[
    str | None,
    typer.Option(
        callback=options.one_of(_FORMATS),
        metavar="|".join(_FORMATS),
        help="How to draw it.  [default: text, or what the suffix of --output says]",
    ),
]
Whole = Annotated[bool, typer.Option("--whole", help="Show every block, also those that repeat.")]


def graph(
    target: options.Target,
    input: options.Input = None,
    weights: options.Weights = None,
    format: Drawing = None,
    output: options.Output = None,
    whole: Whole = False,
    timeout: options.Timeout = None,
    config: options.Config = None,
    verbose: options.Verbose = False,
    color: options.Color = "auto",
) -> int:
    """Draw a model: dropouts, norms, and the way of harmful noise.

    Norms show their shifts. Blocks that repeat are shown once.

    Exit code: 0 drawn, 2 wrong usage, 3 something could not be analysed.
    """
    from dropcheck.run import subjects_of

    chosen = format or _by_suffix(output)
    settings = load_settings(config, Path.cwd()).overruled(timeout=timeout)
    report, subjects = subjects_of(target, settings, input=input, weights=weights)
    explain_gaps(report, verbose=verbose, verdict_wanted=True)
    if chosen != "text" and len(subjects) > 1:
        named = ", ".join(subject.target for subject in subjects)
        raise UsageError(f"{chosen} draws one model, and {target} has {len(subjects)}; name one of {named}")
    if subjects:
        from dropcheck.diagram import chart, render

        drawn = [render(chart(one, fold=not whole), chosen, color=is_colored(color, output)) for one in subjects]
        deliver("\n".join(drawn), output)
    return exit_code(report, FailOn.NEVER)


def _by_suffix(output: Path | None) -> str:
    known = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}
    known |= dict.fromkeys((".txt", ".text", ".log", ""), "text")
    suffix = "" if output is None else output.suffix.lower()
    if suffix not in known:
        named = "name a file with .svg, .dot, .mmd or .txt, or say --format"
        raise UsageError(f"--output {output}: nothing is drawn as {suffix}; {named}")
    return known[suffix]
