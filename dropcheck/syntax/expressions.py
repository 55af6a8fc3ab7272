"""libcst's expressions → ours."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import libcst as cst

from dropcheck.syntax.cursor import Cursor
from dropcheck.syntax.scope import Kind, Parameter, Scope, Statement, Use
from dropcheck.syntax.tree import (
    Argument,
    Attribute,
    Binary,
    Block,
    Call,
    Choice,
    Display,
    Expr,
    Guard,
    Lambda,
    Literal,
    Logic,
    Name,
    Other,
    Subscript,
    Unary,
)


class Expressions(Cursor):
    """Converts expressions where the cursor stands."""

    def __call__(self, node: cst.CSTNode) -> Expr:
        convert = _CONVERT.get(type(node))
        return Other(tuple(self.within(node))) if convert is None else convert(self, node)

    def within(self, node: cst.CSTNode) -> Iterator[Expr]:
        """The expressions below a node that is none itself, or one of no interest."""
        for child in node.children:
            if isinstance(child, cst.BaseExpression):
                yield self(child)
            elif not isinstance(child, _SPACE):
                yield from self.within(child)

    def target(self, node: cst.CSTNode) -> Expr:
        """An assignment's left side: what it names is not read by it."""
        if isinstance(node, cst.Name):
            return Name(node.value)
        if isinstance(node, cst.Attribute):
            return Attribute(self(node.value), node.attr.value)
        if isinstance(node, cst.Tuple | cst.List):
            return Display("tuple", tuple(self.target(element.value) for element in node.elements))
        return self(node)

    def parameters(self, node: cst.Parameters) -> tuple[Parameter, ...]:
        """All parameters; their defaults belong to the scope around the function."""
        starred = [one for one in (node.star_arg, node.star_kwarg) if isinstance(one, cst.Param)]
        plain = (*node.posonly_params, *node.params, *node.kwonly_params)
        defaults = [None if one.default is None else self(one.default) for one in plain]
        found = [Parameter(one.name.value, default) for one, default in zip(plain, defaults, strict=True)]
        return (*found, *(Parameter(one.name.value) for one in starred))

    def text(self, node: cst.SimpleString | cst.ConcatenatedString) -> Expr:
        value: object = node.evaluated_value
        if isinstance(value, str):
            self.strings.add(value)
        return Literal(value)


def _name(to: Expressions, node: cst.Name) -> Expr:
    constant = _CONSTANTS.get(node.value, _NONE_SUCH)
    if constant is not _NONE_SUCH:
        return Literal(constant)
    found = Name(node.value, next(to.order), to.guards)
    to.names.setdefault(node.value, []).append(Use(found, to.scope, to.guards))
    return found


def _attribute(to: Expressions, node: cst.Attribute) -> Expr:
    found = Attribute(to(node.value), node.attr.value)
    to.attributes.setdefault(found.attr, []).append(Use(found, to.scope, to.guards))
    return found


def _call(to: Expressions, node: cst.Call) -> Expr:
    function = to(node.func)
    arguments = tuple(
        Argument(to(one.value), None if one.keyword is None else one.keyword.value, one.star) for one in node.args
    )
    call = Call(function, arguments, to.site(node), to.scope, to.guards, to.blocks)
    to.scope.calls.append(call)
    return call


def _number(to: Expressions, node: cst.Integer | cst.Float | cst.Imaginary) -> Expr:
    return Literal(ast.literal_eval(node.value))


def _unary(to: Expressions, node: cst.UnaryOperation) -> Expr:
    return Unary(_SIGNS.get(type(node.operator), "~"), to(node.expression))


def _binary(to: Expressions, node: cst.BinaryOperation) -> Expr:
    return Binary(_operator(node.operator), to(node.left), to(node.right), to.site(node))


def _operator(node: cst.CSTNode) -> str:
    return "is not" if isinstance(node, cst.IsNot) else "not in" if isinstance(node, cst.NotIn) else _symbol(node)


def _symbol(node: cst.CSTNode) -> str:
    """``<`` for LessThan and so on: the one piece of text that an operator's tree holds."""
    known = _SYMBOLS.get(type(node))
    if known is None:
        known = _SYMBOLS[type(node)] = cst.Module([]).code_for_node(node).strip()
    return known


def _comparison(to: Expressions, node: cst.Comparison) -> Expr:
    left, links = to(node.left), list[Expr]()
    for one in node.comparisons:
        right = to(one.comparator)
        links.append(Binary(_operator(one.operator), left, right))
        left = right
    return links[0] if len(links) == 1 else Logic("and", tuple(links))


def _logic(to: Expressions, node: cst.BooleanOperation) -> Expr:
    operator = "and" if isinstance(node.operator, cst.And) else "or"
    left = to(node.left)
    with to.under((Guard(left, operator == "and"),)):
        right = to(node.right)
    return Logic(operator, (left, right))


def _choice(to: Expressions, node: cst.IfExp) -> Expr:
    test = to(node.test)
    with to.under((Guard(test, True),)):
        then = to(node.body)
    with to.under((Guard(test, False),)):
        otherwise = to(node.orelse)
    return Choice(then, test, otherwise)


def _lambda(to: Expressions, node: cst.Lambda) -> Expr:
    parameters = to.parameters(node.params)
    scope = Scope(Kind.LAMBDA, "<lambda>", to.scope, to.site(node), to.guards, parameters)
    to.scope.add(scope)
    with to.inside(scope):
        result = Statement(to(node.body), (), kept=True)
    scope.returns.append(result)
    scope.statements.append(result)
    return Lambda(scope)


def _subscript(to: Expressions, node: cst.Subscript) -> Expr:
    value = to(node.value)
    return Subscript(value, tuple(expr for one in node.slice for expr in to.within(one.slice)))


def _listed(kind: Any) -> Callable[[Expressions, Any], Expr]:
    def convert(to: Expressions, node: cst.List | cst.Tuple | cst.Set) -> Expr:
        return Display(kind, tuple(to(one.value) for one in node.elements))

    return convert


def _dict(to: Expressions, node: cst.Dict) -> Expr:
    keys = tuple(to(one.key) for one in node.elements if isinstance(one, cst.DictElement))
    return Display("dict", tuple(to(one.value) for one in node.elements), keys)


def _comprehension(kind: Any) -> Callable[[Expressions, Any], Expr]:
    def convert(to: Expressions, node: cst.ListComp | cst.SetComp | cst.GeneratorExp | cst.DictComp) -> Expr:
        others: list[Expr] = []
        guards: list[Guard] = []
        blocks: list[Block] = []
        part: cst.CompFor | None = node.for_in
        while part is not None:
            with to.under(tuple(guards), tuple(blocks)):
                over = to(part.iter)
                to.bind(to.target(part.target), Other((over,)))
                tests = [to(one.test) for one in part.ifs]
            others += (over, *tests)
            guards += (Guard(test, True) for test in tests)
            blocks.append(Block("loop", over))
            part = part.inner_for_in
        with to.under(tuple(guards), tuple(blocks)):
            if isinstance(node, cst.DictComp):
                others.append(to(node.key))
                return Display(kind, (to(node.value),), tuple(others))
            return Display(kind, (to(node.elt),), tuple(others))

    return convert


def _walrus(to: Expressions, node: cst.NamedExpr) -> Expr:
    value = to(node.value)
    to.bind(to.target(node.target), value)
    return value


def _text(to: Expressions, node: cst.SimpleString | cst.ConcatenatedString) -> Expr:
    return Other(tuple(to.within(node))) if _has_fields(node) else to.text(node)


def _has_fields(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.ConcatenatedString):
        return _has_fields(node.left) or _has_fields(node.right)
    return isinstance(node, cst.FormattedString)


_SPACE = (cst.SimpleWhitespace, cst.ParenthesizedWhitespace, cst.Comma, cst.LeftParen, cst.RightParen)
_NONE_SUCH = object()
_CONSTANTS: Mapping[str, object] = {"True": True, "False": False, "None": None}
_SIGNS: Mapping[type[cst.BaseUnaryOp], str] = {cst.Not: "not", cst.Minus: "-", cst.Plus: "+", cst.BitInvert: "~"}
_SYMBOLS: dict[type[cst.CSTNode], str] = {}
_CONVERT: Mapping[type[cst.CSTNode], Callable[[Expressions, Any], Expr]] = {
    cst.Name: _name,
    cst.Attribute: _attribute,
    cst.Call: _call,
    cst.Integer: _number,
    cst.Float: _number,
    cst.Imaginary: _number,
    cst.SimpleString: _text,
    cst.ConcatenatedString: _text,
    cst.UnaryOperation: _unary,
    cst.BinaryOperation: _binary,
    cst.Comparison: _comparison,
    cst.BooleanOperation: _logic,
    cst.IfExp: _choice,
    cst.Lambda: _lambda,
    cst.Subscript: _subscript,
    cst.List: _listed("list"),
    cst.Tuple: _listed("tuple"),
    cst.Set: _listed("set"),
    cst.Dict: _dict,
    cst.ListComp: _comprehension("list"),
    cst.SetComp: _comprehension("set"),
    cst.GeneratorExp: _comprehension("generator"),
    cst.DictComp: _comprehension("dict"),
    cst.NamedExpr: _walrus,
}
