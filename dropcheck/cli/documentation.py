"""``dropcheck rules`` and ``dropcheck explain``."""

from __future__ import annotations

from dataclasses import asdict
from io import StringIO

from dropcheck.cli import options
from dropcheck.cli.terminal import is_colored, show, width
from dropcheck.nearest import suggest
from dropcheck.report.wording import json_text
from dropcheck.source import UsageError


def rules(format: options.Listing = "text") -> int:
    """List the rules."""
    from dropcheck.rules import BUILTIN

    known = [rule.info() for rule in BUILTIN]
    if format == "json":
        show(json_text([asdict(rule) for rule in known]))
    else:
        widest = max(len(rule.name) for rule in known)
        show("".join(f"{rule.code}  {rule.name:<{widest}}  {rule.summary}\n" for rule in known))
    return 0


def explain(code: options.Code, color: options.Color = "auto") -> int:
    """Print the documentation of one rule."""
    from dropcheck.rules import BUILTIN

    known = {rule.code: rule.info() for rule in BUILTIN}
    rule = known.get(code.upper())
    if rule is None:
        raise UsageError(f"there is no rule {code!r}; {suggest(code, known)}")
    page = f"# {rule.code} {rule.name}\n\n{rule.documentation}\n"
    show(_as_markdown(page) if is_colored(color, None) else page)
    return 0


def _as_markdown(text: str) -> str:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(file=StringIO(), force_terminal=True, width=min(width(), 100))
    with console.capture() as capture:
        console.print(Markdown(text))
    return capture.get()
