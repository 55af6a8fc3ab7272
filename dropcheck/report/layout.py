"""Lines of text for a terminal: headings, wrapped paragraphs, labelled fields."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from dropcheck.report.wording import one_line

Block = list[RenderableType]

_GLUE = "\ue000"  # of the private use area: a space that rich does not wrap at
_CODE = r"`[^`]+`"
_DELTA = r"Δ = [\d.e+-]*\d"
_UNBROKEN = re.compile(rf"{_CODE}|{_DELTA}")
FIELD = 9  # cells before a field's text: two of indent, the longest label, its colon, a space


def headed(console: Console, subject: str, kind: str, tone: str, message: str) -> Iterator[Text]:
    """``subject kind: message`` on one line where it fits; otherwise the message is a paragraph below."""
    head = Text.assemble((subject, "bold"), " ", (kind, tone))
    text = _marked_up(message)
    if head.cell_len + 2 + text.cell_len <= console.width:
        yield Text.assemble(head, (": ", tone), text)
        return
    yield head
    yield from hanging(console, Text("  "), text)


def field(console: Console, label: str, text: str) -> Iterator[Text]:
    """``label: text``, wrapped beside its label; nothing where there is no text."""
    if text:
        yield from hanging(console, Text(f"  {label}:".ljust(FIELD), "bold cyan"), _marked_up(text))


def _marked_up(text: str) -> Text:
    """One line of text, what it quotes as code in colour, a Δ with its value bold."""
    line = Text(one_line(text))
    line.highlight_regex(_CODE, "cyan")
    line.highlight_regex(_DELTA, "bold")
    return line


def hanging(console: Console, first: Text, text: Text) -> Iterator[Text]:
    """The text wrapped to the console's width: ``first`` stands before its first line, blanks before the others."""
    before = first
    room = console.width - first.cell_len
    for line in _glued(text, room).wrap(console, room):
        line.rstrip()
        line.plain = line.plain.replace(_GLUE, " ")
        yield Text.assemble(before, line)
        before = Text(" " * first.cell_len)


def _glued(text: Text, room: int) -> Text:
    """The text with what must not be broken at its spaces held together: a Δ and its value, code that fits a line."""
    glued = text.copy()
    glued.plain = _UNBROKEN.sub(
        lambda match: match[0].replace(" ", _GLUE) if cell_len(match[0]) <= room else match[0], text.plain
    )
    return glued
