"""The text of a Python file, in the encoding it declares."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

LEAVE_OUT = "leave the file out with exclude"


class Unreadable(Exception):
    """The message says why; ``hint`` what to try."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def text_of(path: str | Path) -> str:
    """The text of a file, its line ends as they are.

    Raises:
        OSError: it cannot be read.
        Unreadable: it is no text, or not in the encoding it declares.
    """
    data = Path(path).read_bytes()
    if b"\0" in data:
        raise Unreadable(f"byte {data.index(0) + 1} is NUL: not a Python source file", LEAVE_OUT)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(
            f"line {line}: byte 0x{data[error.start]:02x} is not valid {error.encoding}",
            "save it as UTF-8, or declare its encoding in the first line: # -*- coding: latin-1 -*-",
        ) from error
    except SyntaxError as error:
        hint = "save it as UTF-8, or name an encoding that Python knows in its first line"
        raise Unreadable(f"line 1: {error.msg}", hint) from error
