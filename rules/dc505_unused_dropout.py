"""DC505: a dropout layer that nothing calls."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.rule import Example, Finding, Rule, Severity
from dropcheck.syntax import SourceFile
from dropcheck.syntax.gates import CONSTRUCTORS
from dropcheck.syntax.names import canonical
from dropcheck.syntax.scope import Assignment, Kind, Scope
from dropcheck.syntax.torch_names import DROPOUT_LAYERS
from dropcheck.syntax.tree import Attribute, Call, Choice, Display, Expr

_BY_NAME = frozenset({"getattr", "vars", "children", "modules", "named_children", "named_modules", "get_submodule"})


class UnusedDropout(Rule):
    """A dropout layer is constructed and never called.

    ## Why is this bad
    The network trains without the regularisation its constructor promises, and its drop rate does nothing, however
    it is tuned. A layer takes no part because it was registered; forward has to call it.

    ## Use instead
    Call the layer where its dropout belongs, or delete it together with its rate.

    ## Near misses
    A layer that anything in the file reads is left alone, also for its `p` alone; so is a class that looks its
    layers up by name or goes through `children()` or `modules()`, one with bases that are not in the file or
    without a forward of its own, and a layer that capture saw called.

    ## Source
    PyTorch's documentation of torch.nn.Module: only what forward calls takes part in it.
    """

    code = "DC505"
    name = "unused-dropout"
    examples = (
        Example(
            "constructed, not called",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))
""",
            expect=("5: warning the layer 'dropout' of Net is never called: Dropout does nothing",),
            input="2x64",
        ),
        Example(
            "called",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.fc2(self.dropout(F.relu(self.fc1(x))))
""",
            input="2x64",
        ),
        Example(
            "one of two, and a list",
            """\
class Net(nn.Module):
    def __init__(self, p=0.3):
        super().__init__()
        self.fc = nn.Linear(64, 64)
        self.drop_in = nn.Dropout(p)
        self.drop_out = nn.Dropout(p) if p > 0 else nn.Identity()
        self.drops = nn.ModuleList([nn.Dropout(p), nn.Dropout(p)])

    def forward(self, x):
        return self.fc(self.drop_in(x))
""",
            expect=(
                "6: warning the layer 'drop_out' of Net is never called: Dropout does nothing",
                "7: warning the layer 'drops' of Net is never called: Dropout does nothing",
            ),
            input="2x64",
        ),
        Example(
            "handed to a Sequential",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.dropout = nn.Linear(64, 64), nn.Dropout(0.5)
        self.layers = nn.Sequential(self.fc, self.dropout)

    def forward(self, x):
        return self.layers(x)
""",
            input="2x64",
        ),
        Example(
            "looked up by name",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc_1, self.drop_1 = nn.Linear(64, 64), nn.Dropout(0.5)
        self.fc_2, self.drop_2 = nn.Linear(64, 64), nn.Dropout(0.5)

    def forward(self, x):
        for i in (1, 2):
            x = getattr(self, f"drop_{i}")(getattr(self, f"fc_{i}")(x))
        return x
""",
            input="2x64",
        ),
        Example(
            "all children in turn",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.dropout = nn.Linear(64, 64), nn.Dropout(0.5)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x
""",
            input="2x64",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        if not file.mentions("Dropout"):
            return
        for klass in file.classes:
            if not file.layers.is_closed(klass) or not file.names.methods(klass, "forward") or _by_name(file, klass):
                continue
            for one in _built(klass):
                made = None if one.value is None else _dropout(file, one.value)
                if made is None or not isinstance(one.target, Attribute) or _is_read(file, one.target.attr):
                    continue
                message = f"the layer {one.target.attr!r} of {klass.name} is never called: {made.called} does nothing"
                inside = one.scope.qualname
                yield self.remark(file, inside, one.target.attr, made.site, Severity.WARNING, message)


def _built(klass: Scope) -> Iterator[Assignment]:
    """What a class's constructor assigns to self."""
    for method in klass.scopes:
        if method.kind is Kind.FUNCTION and method.name in CONSTRUCTORS and method.parameters:
            yield from method.assignments


def _dropout(file: SourceFile, value: Expr) -> Call | None:
    """The construction of a dropout, or of nothing but dropouts in a ModuleList, in an assigned value."""
    match value:
        case Choice(then=then, otherwise=otherwise):
            return _dropout(file, then) or _dropout(file, otherwise)
        case Call(arguments=arguments):
            named = [canonical(name) for name in file.names.dotted(value.function, value.scope)]
            if any(name in DROPOUT_LAYERS for name in named):
                return value
            if "torch.nn.ModuleList" in named and arguments and isinstance(arguments[0].value, Display):
                parts = [_dropout(file, one) for one in arguments[0].value.elements]
                return parts[0] if parts and all(parts) else None
    return None


def _is_read(file: SourceFile, attr: str) -> bool:
    """Whether anything in the file reads an attribute of that name, or spells it."""
    return attr in file.said.attributes or attr in file.said.strings


def _by_name(file: SourceFile, klass: Scope) -> bool:
    """Whether a class, or one that derives from it, gets at its layers without naming each."""
    for one in file.names.kin(klass):
        for call in file.layers.constructed(one):
            if call.called in _BY_NAME:
                return True
    return any(attr in file.said.attributes for attr in ("_modules", "__dict__"))
