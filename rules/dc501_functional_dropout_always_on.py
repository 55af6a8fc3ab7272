"""DC501: dropout as a function, or by hand, that no training mode switches off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from dropcheck.encounter import shown
from dropcheck.graph import WEIGHT_LAYERS
from dropcheck.ops import Add, Dropout, Lookup
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.syntax import Gate, SourceFile, masks
from dropcheck.syntax.torch_names import DROPOUT_FUNCTIONS, DROPOUT_LAYER_KINDS

if TYPE_CHECKING:
    from dropcheck.graph import Node
    from dropcheck.syntax.names import Meaning
    from dropcheck.syntax.tree import Call

_FUNCTIONS = frozenset(name.rpartition(".")[2] for name in DROPOUT_FUNCTIONS)
_ROUNDING = 1e-3  # of the drop rates of masks written by hand


class FunctionalDropoutAlwaysOn(Rule):
    """A functional or hand-written dropout drops in evaluation mode too.

    ## Why is this bad
    `F.dropout` does not know the model it is called from: its `training` argument is True unless somebody says
    otherwise, and `model.eval()` changes nothing about that. Predictions stay random, validation scores come out
    too low, and batch norms behind it meet in evaluation the noise their statistics already hold, while everything
    that counts on dropout being off there (this linter's Δ included) no longer applies. A mask made from
    `torch.rand` or `bernoulli_` without asking for the mode does the same.

    ## Use instead
    Pass `training=self.training`, or use an nn.Dropout layer, which `model.eval()` switches off; ask for
    `self.training` around a mask written by hand.

    A free function takes the flag as a parameter. Dropout that is meant to stay on (Monte Carlo dropout, Tacotron 2's
    prenet) deserves `# dropcheck: ignore[DC501] -- reason`.

    ## Near misses
    Anything that `self.training` decides about is left alone: as an argument, in a condition around the call or
    around the calls of its function, by an early return, through a local variable, a property or a method; so is a
    flag or a rate that callers pass and this file does not show, a rate of 0, and random numbers that are no dropout:
    added noise, samples, a choice such as `m * a + (1 - m) * b`, tokens that are replaced, initialisation, augmentation
    (outside of modules, or in a class without layers whose name or docstring says so). A flag set once by the
    constructor and a test such as `p > 0` do not depend on the mode. Where the model can be built, what its evaluation
    really does decides.

    ## Source
    PyTorch's documentation of torch.nn.functional.dropout: "training: apply dropout if True. Default: True".
    """

    code = "DC501"
    name = "functional-dropout-always-on"
    examples = (
        Example(
            "the training argument is left out",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5)
        return self.fc2(x)
""",
            expect=(
                "8: error dropout stays on after model.eval(): its training argument is left out, and so it is True",
            ),
            input="2x64",
        ),
        Example(
            "the mode is passed on",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5, training=self.training)
        return self.fc2(x)
""",
            input="2x64",
        ),
        Example(
            "a flag of the constructor is no mode",
            """\
class Net(nn.Module):
    def __init__(self, use_dropout=True):
        super().__init__()
        self.fc, self.use_dropout = nn.Linear(64, 64), use_dropout

    def forward(self, x):
        return F.dropout(self.fc(x), 0.2, training=self.use_dropout)
""",
            expect=(
                "7: error dropout stays on after model.eval(): its training argument does not depend on self.training",
            ),
            input="2x64",
        ),
        Example(
            "a mask by hand",
            """\
class Net(nn.Module):
    def __init__(self, keep=0.8):
        super().__init__()
        self.fc, self.keep = nn.Linear(64, 64), keep

    def forward(self, x):
        x = self.fc(x)
        return x * (torch.rand_like(x) < self.keep) / self.keep
""",
            expect=("8: error this random mask stays on after model.eval(): nothing around it asks for self.training",),
            input="2x64",
        ),
        Example(
            "an early return and a local variable",
            """\
class DropMask(nn.Module):
    def forward(self, x):
        if not self.training:
            return x
        return x * torch.empty_like(x).bernoulli_(0.8) / 0.8

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.mask = nn.Linear(64, 64), DropMask()

    def forward(self, x):
        rate = 0.5 if self.training else 0.0
        return F.dropout(self.mask(self.fc(x)), rate)
""",
            input="2x64",
        ),
        Example(
            "a rate of zero, and a flag the caller passes",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 64)

    def drop(self, x, training):
        return F.dropout(F.dropout(x, 0.0), 0.5, training)

    def forward(self, x):
        return self.drop(self.fc(x), self.training)
""",
            input="2x64",
        ),
        Example(
            "a mask and its complement choose between two, and drop neither",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        pick = (torch.rand(x.shape[0], 1) < 0.3).float()
        return pick * self.fc1(x) + (1 - pick) * self.fc2(x)
""",
            input="2x64",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        if file.mentions("dropout"):
            for call, meaning in file.meanings:
                if meaning.name in DROPOUT_FUNCTIONS and (why := _always_on(file, call, meaning)):
                    kind = meaning.name.rpartition(".")[2]
                    message = f"{kind} stays on after model.eval(): {why}"
                    yield self.remark(file, call.scope.qualname, kind, call.site, Severity.ERROR, message)
        if file.mentions(masks.DRAWN):
            for mask in masks.masks(file):
                called = mask.draw.called
                message = "this random mask stays on after model.eval(): nothing around it asks for self.training"
                found = self.remark(file, mask.draw.scope.qualname, called, mask.draw.site, Severity.ERROR, message)
                yield replace(found, built=mask.applied)

    def check(self, subject: Subject) -> Iterator[Finding]:
        is_model = bool(subject.graph.of(*WEIGHT_LAYERS, Lookup))
        for node in subject.graph.of(Dropout):
            drop = node.op
            if not isinstance(drop, Dropout) or drop.drop_rate == 0.0 or drop.layer in DROPOUT_LAYER_KINDS:
                continue
            if not is_model and drop.kind not in _FUNCTIONS:  # may augment data: the text says more
                continue
            if node.random_in_eval and not _is_half(subject, node):
                message = f"{shown(drop)} stays on after model.eval(): it was run in evaluation mode, and it drops"
                yield self.finding(subject, node, Severity.ERROR, message)


def _is_half(subject: Subject, node: Node) -> bool:
    """Whether a mask chooses between two things that are added, the other being under the complement of the mask."""
    added = (one for one in subject.graph.successors(node) if isinstance(one.op, Add))
    others = (other.op for one in added for other in subject.graph.producers(one) if other is not node)
    mask = node.op
    return any(
        isinstance(mask, Dropout)
        and isinstance(other, Dropout)
        and (other.kind, other.granularity) == (mask.kind, mask.granularity)
        and abs(other.drop_rate + mask.drop_rate - 1.0) < _ROUNDING
        for other in others
    )


def _always_on(file: SourceFile, call: Call, meaning: Meaning) -> str:
    """Why a functional dropout drops in evaluation mode; empty if it does not, or somebody else decides."""
    function = DROPOUT_FUNCTIONS[meaning.name]
    flag, rate = (file.names.argument(call, meaning, *where) for where in ((2, function.flag), (1, "p")))
    if flag is None and (function.default is not True or call.unpacks):
        return ""
    if flag is not None and not file.running.of(*flag).always:
        return ""
    if rate is not None and file.running.of(*rate) is Gate.OFF:
        return ""
    if not file.running.at(call).always:
        return ""
    if flag is None:
        return f"its {function.flag} argument is left out, and so it is True"
    return f"its {function.flag} argument does not depend on self.training"
