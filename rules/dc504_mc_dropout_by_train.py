"""DC504: Monte Carlo dropout that puts the whole model into training mode."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dropcheck.rule import Example, Finding, Rule, Severity
from dropcheck.syntax import SourceFile
from dropcheck.syntax.names import Names
from dropcheck.syntax.scope import Kind, Scope
from dropcheck.syntax.tree import Attribute, Call, Expr, Literal, Name, Other, walk

_LEARNING = frozenset({"backward", "zero_grad", "manual_backward", "optimizer_step", "grad"})
_ABOUT_LEARNING = re.compile(r"(?i)optim|loss|criterion|scaler|epoch|train_loader|update_bn|bn_update|recalib|calibrat")
_NO_GRADIENTS = ("torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad", "torch.autograd.inference_mode")
_PREDICTING = frozenset({"forward", "predict", "generate", "sample", "encode", "decode"})

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.bn, self.drop, self.fc2 = nn.Linear(8, 64), {}, nn.Dropout(0.5), nn.Linear(64, 2)

    def forward(self, x):
        return self.fc2(self.drop(F.relu(self.bn(self.fc1(x)))))
"""
_BN = "nn.BatchNorm1d(64)"


class McDropoutByTrain(Rule):
    """Monte Carlo dropout puts the whole model, batch norms included, into training mode to predict.

    ## Why is this bad
    `model.train()` switches on more than dropout. Every batch norm then normalises with the batch at hand, so that a
    prediction depends on what else is in its batch, and each forward moves the running statistics towards the data
    that is only predicted: the model is no longer the one that was trained. Neither is part of the uncertainty.

    ## Use instead
    Call `model.eval()` and switch on the dropouts alone, or use `dropcheck.nn.mc_dropout`.

    ## Near misses
    Training loops (anything that calls `backward`, `step` or speaks of a loss), passes that only estimate running
    statistics anew and drop what the model returns, evaluation that ends with `model.train()`, batch norms put back
    with `.eval()`, and models of this file that have no batch norm are left alone.

    ## Source
    Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation": dropout alone is sampled at test time.
    """

    code = "DC504"
    name = "mc-dropout-by-train"
    examples = (
        Example(
            "the whole model in training mode",
            _NET.format(_BN)
            + """
def predict(model, x, samples=20):
    model.train()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(samples)]).mean(0)
""",
            expect=(
                "10: warning model.train() before predicting puts batch norms in training mode along with dropout: predictions depend on their batch, and running statistics move",
            ),
        ),
        Example(
            "the dropouts alone",
            _NET.format(_BN)
            + """
def predict(model, x, samples=20):
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(samples)]).mean(0)
""",
        ),
        Example(
            "the model itself, a decorator",
            _NET.format(_BN)
            + """
    @torch.inference_mode()
    def uncertainty(self, x):
        self.train()
        samples = [self(x) for _ in range(10)]
        return torch.stack(samples).var(0)
""",
            expect=(
                "11: warning self.train() before predicting puts batch norms in training mode along with dropout: predictions depend on their batch, and running statistics move",
            ),
        ),
        Example(
            "no batch norm",
            _NET.format("nn.LayerNorm(64)")
            + """
net = Net()

def predict(x):
    net.train()
    with torch.no_grad():
        return torch.stack([net(x) for _ in range(20)]).mean(0)
""",
        ),
        Example(
            "a training loop that validates",
            _NET.format(_BN)
            + """
def fit(model, batches, optimizer):
    for x, y in batches:
        model.train()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            print(model(x).argmax(1))
""",
        ),
        Example(
            "statistics estimated anew",
            _NET.format(_BN)
            + """
def renew(model, batches):
    model.train()
    with torch.no_grad():
        for x in batches:
            model(x)
""",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        if not file.mentions(r"\.train\("):
            return
        for scope in file.said.scopes:
            if scope.kind in (Kind.FUNCTION, Kind.MODULE) and not _learns(scope):
                for call, model in _switched_on(scope):
                    if _has_no_batch_norm(file, model, scope) or not _predicts(file.names, scope, call, model):
                        continue
                    message = (
                        f"{_text(model)}.train() before predicting puts batch norms in training mode along with dropout: "
                        "predictions depend on their batch, and running statistics move"
                    )
                    yield self.remark(file, scope.qualname, "train", call.site, Severity.WARNING, message)


def _learns(scope: Scope) -> bool:
    """Whether a function trains: by what it calls, or by what it speaks of."""
    if any(call.called in _LEARNING or (call.called == "step" and not call.arguments) for call in scope.calls):
        return True
    spoken = [one.name for one in scope.parameters] + [call.called for call in scope.calls] + [scope.name]
    return any(map(_ABOUT_LEARNING.search, spoken))


def _switched_on(scope: Scope) -> Iterator[tuple[Call, Expr]]:
    """The calls of `model.train()`; not those on parts, one after the other, nor where a test picks the parts."""
    for call in scope.calls:
        if isinstance(call.function, Attribute) and call.function.attr == "train":
            model, mode = call.function.value, call.argument(0, "mode")
            if _text(model) and (mode is None or (isinstance(mode, Literal) and mode.value is True)):
                parts = isinstance(model, Name) and any(
                    isinstance(one.value, Other) for one in scope.by_name.get(model.id, [])
                )
                if not parts:
                    yield call, model


def _predicts(names: Names, scope: Scope, switched: Call, model: Expr) -> bool:
    """Whether the model predicts after it was switched on and before anything is switched off again."""
    text, start = _text(model), _position(switched)
    ends = [_position(call) for call in scope.calls if _switches_off(call) and _position(call) > start]
    end = min(ends, default=(1 << 60, 0))
    decorated = any(_is_no_grad(names, one, scope) for one in scope.decorators)
    inside = [scope, *(inner for inner in scope.scopes if inner.kind is Kind.LAMBDA)]
    dropped = {one.value for one in scope.statements if not one.kept}
    for call in (call for one in inside for call in one.calls):
        function = call.function
        asked = function.value if isinstance(function, Attribute) and function.attr in _PREDICTING else function
        if _text(asked) != text or not start < _position(call) < end or call in dropped:
            continue
        without = any(block.over is not None and _is_no_grad(names, block.over, scope) for block in call.blocks)
        if decorated or without or any(_repeats(block.over) for block in call.blocks if block.kind == "loop"):
            return True
    return False


def _switches_off(call: Call) -> bool:
    if call.called == "eval" and isinstance(call.function, Attribute):
        return True
    mode = call.argument(0, "mode")
    return call.called == "train" and isinstance(mode, Literal) and mode.value is False


def _is_no_grad(names: Names, expr: Expr, scope: Scope) -> bool:
    function = expr.function if isinstance(expr, Call) else expr
    return any(name in _NO_GRADIENTS for name in names.dotted(function, scope))


def _repeats(over: Expr | None) -> bool:
    """Whether a loop counts samples: `range(n)`."""
    return over is not None and any(isinstance(one, Call) and one.called in ("range", "trange") for one in walk(over))


def _has_no_batch_norm(file: SourceFile, model: Expr, scope: Scope) -> bool:
    """Whether the model is known, of a class in this file, and holds no batch norm."""
    classes = []
    owner = file.names.instance_of(model, scope)
    place = file.names.binding(model.id, scope) if isinstance(model, Name) else None
    if owner is not None:
        classes = [owner]
    elif isinstance(model, Name) and place is not None:
        made = [one.value for one in place.by_name.get(model.id, [])]
        for one in made:
            local = [m.local for m in file.names.of(one.function, place)] if isinstance(one, Call) else []
            classes += [klass for klass in local if klass is not None and klass.kind is Kind.CLASS]
    return bool(classes) and all(file.layers.holds(one, file.layers.is_batch_norm) is False for one in classes)


def _text(expr: Expr) -> str:
    """`self.model` as written; empty for what is no dotted name."""
    if isinstance(expr, Name):
        return expr.id
    inner = _text(expr.value) if isinstance(expr, Attribute) else ""
    return f"{inner}.{expr.attr}" if inner and isinstance(expr, Attribute) else ""


def _position(call: Call) -> tuple[int, int]:
    return call.site.line, call.site.column
