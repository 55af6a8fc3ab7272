"""One source file as rules see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dropcheck.syntax.layers import Layers
from dropcheck.syntax.names import Meaning, Names
from dropcheck.syntax.parsing import parse
from dropcheck.syntax.running import Running
from dropcheck.syntax.scope import Kind, Scope
from dropcheck.syntax.tree import Call

if TYPE_CHECKING:
    from dropcheck.syntax.scope import Read


@dataclass(frozen=True)
class SourceFile:
    """The text of one file that nobody has run. ``path`` is how reports call it.

    The file is parsed when something but :meth:`mentions` is first asked, which raises Unparsable if it cannot be.
    """

    path: str
    text: str

    def mentions(self, pattern: str) -> bool:
        """Whether a regular expression occurs in the text: for rules to ask first, as parsing takes its time."""
        return re.search(pattern, self.text) is not None

    @cached_property
    def said(self) -> Read:
        """Everything the file says, scope by scope."""
        return parse(self.path, self.text)

    @cached_property
    def names(self) -> Names:
        """What names stand for."""
        return Names(self.said)

    @cached_property
    def layers(self) -> Layers:
        """What classes are made of."""
        return Layers(self.names)

    @cached_property
    def running(self) -> Running:
        """What runs in evaluation mode, and what expressions are worth there."""
        return Running(self.said, self.names, self.layers)

    @cached_property
    def meanings(self) -> tuple[tuple[Call, Meaning], ...]:
        """Every call with each thing that it may call."""
        return tuple((call, one) for call in self.calls for one in self.names.of(call.function, call.scope))

    @property
    def calls(self) -> Iterator[Call]:
        """Every call of the file, scope by scope."""
        for scope in self.said.scopes:
            yield from scope.calls

    @property
    def classes(self) -> Iterator[Scope]:
        return (scope for scope in self.said.scopes if scope.kind is Kind.CLASS)
