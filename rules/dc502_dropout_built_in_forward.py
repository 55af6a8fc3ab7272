"""DC502: a dropout layer made anew in every forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dropcheck.rule import Example, Finding, Rule, Severity
from dropcheck.syntax import Gate, SourceFile
from dropcheck.syntax.tree import Attribute, Call, Expr, Name, walk


class DropoutBuiltInForward(Rule):
    """A dropout layer is constructed inside forward.

    ## Why is this bad
    A module is born in training mode. One that forward constructs, or a function forward calls, is new in every call:
    `model.eval()` never reaches it, and it drops in evaluation as it does in training.

    ## Use instead
    Construct the layer in `__init__` and call it in forward, or write `F.dropout(x, p, training=self.training)`.

    ## Near misses
    Layers without a mode of their own, such as `nn.LeakyReLU()(x)`, do no harm there. Left alone as well: a rate of
    0, a layer that gets its mode at once (`.train(self.training)`, `.eval()`), one that is called under
    `if self.training`, and one that is made on first use and kept.

    ## Source
    PyTorch's documentation of torch.nn.Module: `training` is True in a new module, and `train()` and `eval()`
    set it in the modules that are registered.
    """

    code = "DC502"
    name = "dropout-built-in-forward"
    examples = (
        Example(
            "made and called in one line",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = nn.Dropout(0.5)(x)
        return self.fc2(x)
""",
            expect=(
                "8: error Dropout is made anew in every forward: model.eval() never reaches it, and it always drops",
            ),
            input="2x64",
        ),
        Example(
            "made once",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.dropout(x)
        return self.fc2(x)
""",
            input="2x64",
        ),
        Example(
            "in a Sequential that a function makes",
            """\
def head(x, p):
    layers = nn.Sequential(nn.ReLU(), nn.Dropout(p))
    return layers(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.p = nn.Linear(64, 64), 0.3

    def forward(self, x):
        return head(self.fc(x), self.p)
""",
            expect=(
                "2: error Dropout is made anew in every forward: model.eval() never reaches it, and it always drops",
            ),
            input="2x64",
        ),
        Example(
            "layers without a mode",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 64)

    def forward(self, x):
        return nn.LeakyReLU(0.1)(self.fc(x))
""",
            input="2x64",
        ),
        Example(
            "its mode is set, or it is off in evaluation",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 64)

    def forward(self, x):
        x = nn.Dropout(0.5).train(self.training)(self.fc(x))
        x = nn.Dropout(0.2 if self.training else 0.0)(x)
        return nn.Dropout(0.1)(x) if self.training else x
""",
            input="2x64",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        if not file.mentions("Drop|StochasticDepth"):
            return
        for call in file.calls:
            if (
                file.layers.is_dropout(call)
                and _always_drops(file, call)
                and (used := _used_up(file, call)) is not None
            ):
                message = (
                    f"{call.called} is made anew in every forward: model.eval() never reaches it, and it always drops"
                )
                found = self.remark(file, call.scope.qualname, call.called, call.site, Severity.ERROR, message)
                yield replace(found, built=used.site)


def _always_drops(file: SourceFile, call: Call) -> bool:
    rate = call.argument(0, "p")
    return file.running.at(call).always and (rate is None or file.running.of(rate, call.scope) is not Gate.OFF)


def _used_up(file: SourceFile, made: Call) -> Call | None:
    """The call of a layer in the function that makes it, unless its mode is set there or somebody keeps it."""
    parents = {part: expr for one in made.scope.statements for expr in walk(one.value) for part in expr.parts}
    expr: Expr = made
    while (parent := parents.get(expr)) is not None:
        if isinstance(parent, Call) and parent.function is expr:
            return parent
        if isinstance(parent, Attribute):
            return None
        expr = parent
    calls = [_called(file, one.target, made) for one in made.scope.assignments if one.value is expr]
    return next((call for call in calls if call is not None), None)


def _called(file: SourceFile, target: Expr, made: Call) -> Call | None:
    """The call of what it is assigned to in the same function, if no attribute of it is touched there."""
    scope = made.scope
    if isinstance(target, Attribute):  # kept, but made anew each time if no condition stands before it
        on_self = (call for call in scope.calls if isinstance(call.function, Attribute))
        return next((call for call in on_self if call.called == target.attr and not made.guards), None)
    if not isinstance(target, Name):
        return None
    reads = {use.expr for use in file.said.names.get(target.id, []) if scope in (use.scope, *use.scope.parents)}
    touched = [one.target for one in scope.assignments] + [one.value for one in scope.statements]
    if any(isinstance(expr, Attribute) and expr.value in reads for one in touched for expr in walk(one)):
        return None
    return next((call for call in scope.calls if call.function in reads), None)
