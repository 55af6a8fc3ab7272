"""Leaves out of long files what no rule can find anything in: libcst needs half a millisecond for every line."""

from __future__ import annotations

import ast
import re
from itertools import pairwise

LONG = 2000
"""Lines from which on it pays."""

_ABOUT = re.compile(
    r"[Dd]rop|rand|[Bb]ernoulli|binomial|uniform_|attention|attn|\.train\(|BatchNorm|StochasticDepth|Transformer"
)
_LAYER = re.compile(r"(\w+)[^\n=]*=[^\n=]*(?:Drop|BatchNorm)")
_LINE_END = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")  # what Python counts: str.splitlines() knows others
_WORD = re.compile(r"[^\W\d]\w*")


def pruned(text: str, tree: ast.Module) -> str:
    """The text with empty lines in place of the top-level statements that do not matter; every line stays in place.

    What matters: imports, what speaks of dropout and its kin, and from there on whoever names what is defined in it,
    and what it names.
    """
    lines = _LINE_END.split(text)
    extents = [_extent(statement) for statement in tree.body]
    if len(lines) < LONG or any(end > start for (_, end), (start, _) in pairwise(extents)):
        return text
    pieces = ["".join(lines[start:end]) for start, end in extents]
    kept = _kept(tree.body, pieces)
    for number, (start, end) in enumerate(extents):
        if number not in kept:
            lines[start:end] = ["\n"] * (end - start)
    return "".join(lines)


def _extent(statement: ast.stmt) -> tuple[int, int]:
    """From its first line, decorators included, to behind its last; the first line of a file is 0."""
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)]) - 1, statement.end_lineno or statement.lineno


def _kept(body: list[ast.stmt], pieces: list[str]) -> set[int]:
    words = [set(_WORD.findall(piece)) for piece in pieces]
    defines = [_defined(statement) for statement in body]
    users: dict[str, list[int]] = {}
    makers: dict[str, list[int]] = {}
    for number in range(len(body)):
        for word in words[number]:
            users.setdefault(word, []).append(number)
        for name in defines[number]:
            makers.setdefault(name, []).append(number)
    imports = (number for number, one in enumerate(body) if isinstance(one, ast.Import | ast.ImportFrom))
    pending = [number for number, piece in enumerate(pieces) if _ABOUT.search(piece)]
    kept = set(imports)
    while pending:
        number = pending.pop()
        if number in kept:
            continue
        kept.add(number)
        names = defines[number] | set(_LAYER.findall(pieces[number]))
        pending += [user for name in names for user in users.get(name, [])]
        pending += [maker for word in words[number] for maker in makers.get(word, [])]
    return kept


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
