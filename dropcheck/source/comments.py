"""Comments that speak to dropcheck: ``# dropcheck: ignore[DC101] -- reason``, ``ignore-file``, ``build``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dropcheck.graph import Site
from dropcheck.job import Build
from dropcheck.nearest import suggest
from dropcheck.source.builds import parse_build
from dropcheck.source.discover import shown_path
from dropcheck.source.reading import Unreadable, text_of
from dropcheck.source.usage import UsageError

_WORDS = ("ignore", "ignore-file", "build")
_MENTIONS = re.compile("dropcheck", re.IGNORECASE)
_COMMENT = re.compile(
    r"(?<![\"'`])#[ \t]*(?P<name>dropcheck)[ \t]*(?P<colon>:?)[ \t]*(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_STRING_OR_COMMENT = re.compile(
    r"""(?s)'{3}(?:\\.|.)*?'{3}|"{3}(?:\\.|.)*?"{3}|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|#[^\n]*"""
)
_DIRECTIVE = re.compile(r"(?P<word>[a-z]+(?:-[a-z]+)*)(?P<rest>.*)", re.DOTALL)
_CODES = re.compile(r"(?:\[(?P<codes>[^\[\]]*)\])?\s*(?P<after>(?:--|#).*)?", re.DOTALL)
_ALMOST = re.compile(r"ignor\w*(?:-file)?\s*(?:$|\[|--)|build\s+[\w.]+\(", re.IGNORECASE)  # where the colon is missing
_FORM = "write `# dropcheck: ignore[DC101] -- reason`"


@dataclass(frozen=True, slots=True)
class Ignore:
    """An order to be silent: about ``codes``, or about everything where there are none; ``site`` is its comment's."""

    site: Site
    codes: tuple[str, ...] = ()
    whole_file: bool = False

    @property
    def text(self) -> str:
        """As it is written, without the reason."""
        word = "ignore-file" if self.whole_file else "ignore"
        return f"{word}[{', '.join(self.codes)}]" if self.codes else word


@dataclass(frozen=True, slots=True)
class Malformed:
    """A comment that means to speak to dropcheck and does not succeed: what is wrong, and what to write."""

    site: Site
    message: str
    help: str
    builds: bool = False


@dataclass(frozen=True, slots=True)
class Comments:
    """What the comments of one file say, in the order of its lines."""

    ignores: tuple[Ignore, ...] = ()
    builds: tuple[Build, ...] = ()
    malformed: tuple[Malformed, ...] = ()


NONE = Comments()


def comments_in(path: str) -> Comments:
    """The comments of a file; none where it cannot be read."""
    try:
        return comments_of(text_of(path), shown_path(path))
    except (OSError, Unreadable):
        return NONE


def comments_of(text: str, path: str) -> Comments:
    """The comments in the text of a file that reports call ``path``. What a string holds is no comment."""
    if _MENTIONS.search(text) is None:
        return NONE
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    found = [order for comment in found_comments(text) if (order := _read(comment, lines, path)) is not None]
    return Comments(
        tuple(one for one in found if isinstance(one, Ignore)),
        tuple(one for one in found if isinstance(one, Build)),
        tuple(one for one in found if isinstance(one, Malformed)),
    )


def found_comments(text: str) -> Iterator[tuple[int, int, str]]:
    """Line, column from 1 and text of each comment of a file that parses, its line ends being plain newlines.

    A tokenizer finds the same and takes seconds where this takes milliseconds.
    """
    line, start = 1, 0
    for match in _STRING_OR_COMMENT.finditer(text):
        if match[0].startswith("#"):
            line += text.count("\n", start, match.start())
            start = match.start()
            yield line, start - text.rfind("\n", 0, start), match[0]


def _read(comment: tuple[int, int, str], lines: list[str], path: str) -> Ignore | Build | Malformed | None:
    line, column, text = comment
    match = _COMMENT.search(text)
    if match is None or not (match["colon"] or _ALMOST.match(match["rest"])):
        return None
    site = Site(path, line, column + match.start(), line, column + len(text.rstrip()))
    try:
        if match["name"] != "dropcheck" or not match["colon"]:
            raise UsageError(f"a comment for dropcheck begins with `# dropcheck:`; {_FORM}")
        return _directive(match["rest"], not lines[line - 1][0].isspace(), site)
    except UsageError as error:
        message, _, help = str(error).partition("; ")
        return Malformed(site, message, help[:1].upper() + help[1:], builds=match["rest"].startswith("build"))


def _directive(text: str, top: bool, site: Site) -> Ignore | Build:
    match = _DIRECTIVE.match(text)
    word = match["word"] if match else text.partition(" ")[0]
    if match is None or word not in _WORDS:
        raise UsageError(f"{word!r} is nothing that a comment can ask of dropcheck; {suggest(word, _WORDS)}")
    if word == "build":
        return parse_build(match["rest"], f"{site.path}:{site.line}")
    whole_file = word == "ignore-file"
    if whole_file and not top:
        raise UsageError("ignore-file concerns the whole file; move it to the top level of the file, out of any block")
    codes = _CODES.fullmatch(match["rest"])
    if codes is None:
        raise UsageError(
            f"{match['rest'].strip()!r} after {word!r} is not understood; "
            f"{_FORM}: codes in brackets, without a space before them, and a reason after two dashes"
        )
    if codes["codes"] is None:
        return Ignore(site, (), whole_file)
    named = tuple(dict.fromkeys(code.strip() for code in codes["codes"].split(",")))
    if "" in named:
        raise UsageError(f"between the brackets of {word!r} a code is missing; {_FORM}, or no brackets at all")
    return Ignore(site, named, whole_file)
