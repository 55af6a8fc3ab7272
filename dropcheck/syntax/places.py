"""Where calls and definitions stand: libcst's tree has no positions of its own, they come from printing it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import libcst as cst
from libcst._nodes.internal import CodegenState

Place = tuple[int, int, int, int]
"""Line and column of the first character, and of the one behind the last; all count from 1."""

_PLACED = frozenset({cst.Call, cst.FunctionDef, cst.ClassDef, cst.Lambda, cst.BinaryOperation, cst.AugAssign})
_NOWHERE = nullcontext()


def places(tree: cst.Module) -> dict[cst.CSTNode, Place]:
    """The places of all calls, definitions and lambdas, without the parentheses around them.

    libcst's own provider notes every node, which takes ten times as long.
    """
    printer = _Printer(tree)
    tree._codegen(printer)
    return printer.found


class _Printer(CodegenState):
    def __init__(self, tree: cst.Module) -> None:
        super().__init__(default_indent=tree.default_indent, default_newline=tree.default_newline)
        self.line = self.column = 1
        self.found: dict[cst.CSTNode, Place] = {}

    def add_indent_tokens(self) -> None:
        super().add_indent_tokens()
        self.column += sum(map(len, self.indent_tokens))

    def add_token(self, value: str) -> None:
        super().add_token(value)
        breaks = value.count("\n") or value.count("\r")
        if breaks:
            self.line += breaks
            self.column = len(value) - max(value.rfind("\n"), value.rfind("\r"))
        else:
            self.column += len(value)

    def record_syntactic_position(  # type: ignore[override]
        self, node: cst.CSTNode, *, start_node: cst.CSTNode | None = None, end_node: cst.CSTNode | None = None
    ) -> AbstractContextManager[None]:
        # A generator, as libcst has it here, would cost as much for each node as printing it.
        return _Noted(self, node) if type(node) in _PLACED else _NOWHERE


class _Noted(AbstractContextManager[None]):
    def __init__(self, printer: _Printer, node: cst.CSTNode) -> None:
        self.printer, self.node = printer, node
        self.start = (1, 1)

    def __enter__(self) -> None:
        self.start = (self.printer.line, self.printer.column)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.printer.found[self.node] = (*self.start, self.printer.line, self.printer.column)
