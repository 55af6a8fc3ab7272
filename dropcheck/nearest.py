"""How a word that names nothing is answered."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LOOKALIKES = str.maketrans("oil", "011")


def suggest(word: str, valid: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the valid word most like ``word``; all valid words where none is like it."""
    known = {name.lower(): str(name) for name in valid}
    digits = word.lower().translate(_LOOKALIKES)
    close = [digits] if digits in known else get_close_matches(word.lower(), known, n=1)
    return f"did you mean {known[close[0]]!r}?" if close else f"choose from {', '.join(known.values())}"
