"""``dropcheck rules`` and ``dropcheck explain``."""

from __future__ import annotations

from dataclasses import asdict
from io import StringIO

from dropcheck.cli import options
from dropcheck.cli.terminal import is_colored, say, show, width
from dropcheck.nearest import suggest
from dropcheck.plugins import known_rules
from dropcheck.report.concise import error_line
from dropcheck.report.wording import json_text
from dropcheck.rule import Rule
from dropcheck.source import UsageError


def rules(format: options.Listing = "text") -> int:
    """List the rules, those of plugins among them.

    Exit code: 0, or 3 if a plugin's rules cannot be used.
    """
    from dropcheck.rules import BUILTIN

    known = known_rules(BUILTIN)
    if format == "json":
        show(json_text([asdict(rule.info()) | {"on_by_default": rule.on_by_default} for rule in known.rules]))
    else:
        widest = max(len(rule.name) for rule in known.rules)
        show("".join(f"{rule.code}  {rule.name:<{widest}}  {_summary(rule)}\n" for rule in known.rules))
    for error in known.errors:
        say(error_line(error))
    return 3 if known.errors else 0


def _summary(rule: Rule) -> str:
    return rule.info().summary + ("" if rule.on_by_default else f" (off: --select {rule.code} turns it on)")


def explain(code: options.Code, color: options.Color = "auto") -> int:
    """Print the documentation of one rule."""
    from dropcheck.rules import BUILTIN

    known = known_rules(BUILTIN)
    rule = next((rule for rule in known.rules if rule.code == code.upper()), None)
    if rule is None:
        for error in known.errors:
            say(error_line(error))
        raise UsageError(f"there is no rule {code!r}; {suggest(code, sorted(known.codes))}")
    info = rule.info()
    off = "" if rule.on_by_default else f"Off by default: `--select {rule.code}` turns it on.\n\n"
    page = f"# {info.code} {info.name}\n\n{off}{info.documentation}\n"
    show(_as_markdown(page) if is_colored(color, None) else page)
    return 0


def _as_markdown(text: str) -> str:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(file=StringIO(), force_terminal=True, width=min(width(), 100))
    with console.capture() as capture:
        console.print(Markdown(text))
    return capture.get()
