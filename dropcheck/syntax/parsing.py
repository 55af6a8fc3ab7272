"""Text → what it says. All that needs libcst is behind this, and imported only once a file is really read."""

from __future__ import annotations

import ast
import sys
import threading
import warnings
from typing import TYPE_CHECKING

from dropcheck.syntax.pruning import pruned

if TYPE_CHECKING:
    from dropcheck.syntax.scope import Read

_STACK = 512 << 20  # address space, not memory: libcst needs some 50 KB for each of the 3000 levels that Python accepts
_DEPTH = 100_000


class Unparsable(Exception):
    """The message says where and why; ``hint`` what to try."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def parse(path: str, text: str) -> Read:
    """What a file says. Raises Unparsable."""
    text = pruned(text, _checked(text))
    results: list[Read | Exception] = []
    # libcst's parser is recursive and ends the process where its stack ends: it gets one that cannot end before
    # Python's own parser has refused the text.
    before = threading.stack_size(_STACK)
    try:
        thread = threading.Thread(target=lambda: results.append(_attempt(path, text)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _checked(text: str) -> ast.Module:
    """The text as Python's own parser reads it. Raises Unparsable where it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        raise Unparsable(
            f"line {error.lineno}: {error.msg}" if error.lineno else error.msg,
            "correct it, or leave the file out with exclude",
        ) from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise Unparsable("it is nested too deeply to be parsed", "leave the file out with exclude") from error


def _attempt(path: str, text: str) -> Read | Exception:
    import libcst as cst

    from dropcheck.syntax.reader import read

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        return read(cst.parse_module(text), path)
    except cst.ParserSyntaxError as error:
        hint = "leave the file out with exclude; a newer libcst may know this syntax"
        return Unparsable(f"line {error.raw_line}: libcst cannot parse it: {error.message}", hint)
    except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
        return error
    finally:
        sys.setrecursionlimit(limit)
