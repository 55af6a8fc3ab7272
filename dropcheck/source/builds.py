"""How to build a model, said by hand: ``Net([8, 16, 2], dropout=0.2) input 32x8``."""

from __future__ import annotations

import re

from dropcheck.job import Build
from dropcheck.source.spec import parse_input
from dropcheck.source.target import parse_arguments
from dropcheck.source.usage import UsageError

_NAME = r"[^\W\d]\w*"
_SYMBOL = re.compile(rf"\s*(?P<symbol>{_NAME}(?:\.{_NAME})*)\s*")
_REST = re.compile(r"(?:input\s+(?P<input>\S+(?:\s*,\s*\S+)*?))?\s*(?:--.*)?", re.DOTALL)
_FORM = "write `# dropcheck: build Net([8, 16, 2], dropout=0.2) input 32x8`"


def parse_build(text: str, said: str) -> Build:
    """What follows the word ``build`` in a comment; ``said`` is the comment's place.

    Raises:
        UsageError: no symbol, arguments that are no Python literals, an input that is no input spec.
    """
    symbol = _SYMBOL.match(text)
    if symbol is None:
        raise UsageError(f"'build' names no class or function; {_FORM}")
    call, rest = _call(text[symbol.end() :])
    after = _REST.fullmatch(rest)
    if after is None:
        raise UsageError(f"{rest.strip()!r} after the call is not understood; {_FORM}")
    if after["input"] is not None:
        parse_input(after["input"])
    return Build(symbol["symbol"], call, after["input"], said=said)


def _call(text: str) -> tuple[str | None, str]:
    """The arguments of a call that ``text`` begins with, and what follows it."""
    if not text.startswith("("):
        return None, text
    failure: UsageError | None = None
    for end in (match.start() for match in re.finditer(r"\)", text)):
        try:
            parse_arguments(text[1:end])
        except UsageError as error:
            # A bracket inside a text or a tuple ends too early: the last one that could end the call is meant.
            failure = error
        else:
            return text[1:end], text[end + 1 :].strip()
    if failure is None:
        raise UsageError(f"the call does not end with its closing parenthesis; {_FORM}")
    raise UsageError(f"{failure}; {_FORM}" if "; " not in str(failure) else str(failure))
