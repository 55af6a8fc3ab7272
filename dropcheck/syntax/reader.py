"""libcst's statements → scopes: what each function assigns, calls and returns, and under which conditions."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from dropcheck.graph import Site
from dropcheck.syntax.expressions import Expressions
from dropcheck.syntax.places import places
from dropcheck.syntax.scope import Kind, Read, Scope, Statement
from dropcheck.syntax.tree import Binary, Block, Expr, Guard, Name, Other


def read(tree: cst.Module, path: str) -> Read:
    """What a parsed file says."""
    top = Scope(Kind.MODULE, "<module>", None, Site(path, 1, 1, 1, 1))
    reader = _Reader(Expressions(path, places(tree), top))
    reader.block(tree.body)
    scopes = [top]
    for scope in scopes:
        scopes.extend(scope.scopes)
    return Read(tuple(scopes), reader.to.names, reader.to.attributes, reader.to.strings)


class _Reader:
    def __init__(self, to: Expressions) -> None:
        self.to = to
        self.trying = 0

    def block(self, body: Sequence[cst.CSTNode]) -> bool:
        """Reads statements one after the other; True if control never leaves them at the end.

        What follows ``if test: return`` runs only where the test does not hold.
        """
        before = self.to.guards
        leaves = False
        for statement in body:
            leaves = self.statement(statement) or leaves
        self.to.guards = before
        return leaves

    def suite(self, body: cst.BaseSuite, *guards: Guard, blocks: tuple[Block, ...] = ()) -> bool:
        with self.to.under(guards, blocks):
            return self.block(body.body)

    def statement(self, node: cst.CSTNode) -> bool:
        match node:
            case cst.SimpleStatementLine():
                return [self.small(one) for one in node.body][-1]
            case cst.If():
                return self.branch(node)
            case cst.FunctionDef():
                self.function(node)
            case cst.ClassDef():
                self.klass(node)
            case cst.For():
                self.loop(node)
            case cst.While():
                test = self.to(node.test)
                self.suite(node.body, Guard(test, True), blocks=(Block("loop", None),))
                self.otherwise(node.orelse)
            case cst.With():
                return self.with_(node)
            case cst.Try() | cst.TryStar():
                return self.try_(node)
            case cst.Match():
                self.keep(self.to(node.subject))
                for case in node.cases:
                    self.suite(case.body)
            case cst.BaseSmallStatement():  # if test: return
                return self.small(node)
        return False

    def branch(self, node: cst.If) -> bool:
        test = self.to(node.test)
        leaves = self.suite(node.body, Guard(test, True))
        other = False
        if isinstance(node.orelse, cst.If):
            with self.to.under((Guard(test, False),)):
                other = self.branch(node.orelse)
        elif node.orelse is not None:
            other = self.suite(node.orelse.body, Guard(test, False))
        if leaves != other:
            self.to.guards = (*self.to.guards, Guard(test, other))
        return leaves and other

    def loop(self, node: cst.For) -> None:
        over = self.to(node.iter)
        self.keep(over)
        with self.to.under(blocks=(Block("loop", over),)):
            self.to.bind(self.to.target(node.target), Other((over,)))
            self.block(node.body.body)
        self.otherwise(node.orelse)

    def otherwise(self, node: cst.Else | None) -> None:
        if node is not None:
            self.suite(node.body)

    def with_(self, node: cst.With) -> bool:
        blocks = []
        for item in node.items:
            manager = self.to(item.item)
            blocks.append(Block("with", manager))
            if item.asname is not None:
                self.to.bind(self.to.target(item.asname.name), None)
        return self.suite(node.body, blocks=tuple(blocks))

    def try_(self, node: cst.Try | cst.TryStar) -> bool:
        self.trying += 1
        leaves = self.suite(node.body)
        caught = [self.suite(handler.body) for handler in node.handlers]
        self.trying -= 1
        self.otherwise(node.orelse)
        if node.finalbody is not None and self.suite(node.finalbody.body):
            return True
        return leaves and all(caught)

    # One-line statements ---------------------------------------------------------------------------------------

    def small(self, node: cst.CSTNode) -> bool:
        match node:
            case cst.Expr():
                self.keep(self.to(node.value), kept=False)
            case cst.Assign():
                value = self.keep(self.to(node.value))
                for one in node.targets:
                    self.to.bind(self.to.target(one.target), value)
            case cst.AnnAssign() if node.value is not None:
                self.to.bind(self.to.target(node.target), self.keep(self.to(node.value)))
            case cst.AugAssign():
                self.augment(node)
            case cst.Return():
                if node.value is not None:
                    result = Statement(self.to(node.value), self.to.guards, kept=True)
                    self.to.scope.returns.append(result)
                    self.to.scope.statements.append(result)
                return True
            case cst.Raise():
                self.keep(*self.to.within(node))
                return True
            case cst.Break() | cst.Continue():
                return True
            case cst.Assert():
                test = self.keep(self.to(node.test))
                self.to.guards = (*self.to.guards, Guard(test, True))
            case cst.Import() | cst.ImportFrom():
                self.imports(node)
            case cst.Del():
                self.keep(*self.to.within(node))
        return False

    def keep(self, *values: Expr, kept: bool = True) -> Expr:
        for value in values:
            self.to.scope.statements.append(Statement(value, self.to.guards, kept))
        return values[0] if values else Name("")

    def augment(self, node: cst.AugAssign) -> None:
        """``x *= mask`` is ``x = x * mask``."""
        operator = cst.Module([]).code_for_node(node.operator).strip().removesuffix("=")
        value = Binary(operator, self.to(node.target), self.to(node.value), self.to.site(node))
        self.keep(value)
        self.to.bind(self.to.target(node.target), value)

    def imports(self, node: cst.Import | cst.ImportFrom) -> None:
        known = self.to.scope.imports
        module = ""
        if isinstance(node, cst.ImportFrom):
            module = "." * len(node.relative) + _dotted(node.module)
            if isinstance(node.names, cst.ImportStar):
                self.to.scope.stars.append(module)
                return
            module += "" if module.endswith(".") else "."
        for alias in node.names if not isinstance(node.names, cst.ImportStar) else ():
            name = _dotted(alias.name)
            own = "" if alias.asname is None else _dotted(alias.asname.name)
            top = name if module or own else name.partition(".")[0]
            if not self.to.guards and not self.trying:
                known[own or top] = []  # from here on it means this
            known.setdefault(own or top, []).append(f"{module}{top}")

    # Definitions -----------------------------------------------------------------------------------------------

    def function(self, node: cst.FunctionDef) -> None:
        decorators = tuple(self.to(one.decorator) for one in node.decorators)
        parameters = self.to.parameters(node.params)
        site = self.header(node, "def" if node.asynchronous is None else "async def")
        scope = Scope(Kind.FUNCTION, node.name.value, self.to.scope, site, self.to.guards, parameters, decorators)
        self.enter(scope, node.body)

    def klass(self, node: cst.ClassDef) -> None:
        decorators = tuple(self.to(one.decorator) for one in node.decorators)
        bases = tuple(self.to(one.value) for one in node.bases)
        site = self.header(node, "class")
        scope = Scope(Kind.CLASS, node.name.value, self.to.scope, site, self.to.guards, (), decorators, bases)
        self.enter(scope, node.body)

    def enter(self, scope: Scope, body: cst.BaseSuite) -> None:
        self.to.scope.add(scope)
        with self.to.inside(scope):
            self.block(body.body)

    def header(self, node: cst.FunctionDef | cst.ClassDef, keyword: str) -> Site:
        """From ``def`` or ``class`` to the end of the name."""
        line, column, _, _ = self.to.places[node]
        return Site(self.to.path, line, column, line, column + len(f"{keyword} {node.name.value}"))


def _dotted(node: cst.CSTNode | None) -> str:
    if isinstance(node, cst.Attribute):
        return f"{_dotted(node.value)}.{node.attr.value}"
    return node.value if isinstance(node, cst.Name) else ""
