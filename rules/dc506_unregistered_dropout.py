"""DC506: layers that model.eval() does not reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dropcheck.ops import Attention, Dropout, Recurrent
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.syntax import SourceFile, unregistered
from dropcheck.syntax.torch_names import DROPOUT_LAYER_KINDS

_LAYERS = (*DROPOUT_LAYER_KINDS, "MultiheadAttention", "RNN", "LSTM", "GRU")


class UnregisteredDropout(Rule):
    """A dropout or batch norm is out of reach of model.eval().

    ## Why is this bad
    `model.eval()` goes from each module to the modules registered in it: those assigned to an attribute, or kept in
    an nn.ModuleList, nn.ModuleDict or nn.Sequential. Layers in a plain list or dict, or made outside of `__init__`,
    are not among them: their dropout goes on in evaluation, and a batch norm goes on normalising with the batch at
    hand. They are missing from `state_dict()` and `parameters()` as well. An own `train()` that does not call
    `super().train(mode)` cuts off the layers it does not set itself in the same way.

    ## Use instead
    Keep layers in nn.ModuleList, nn.ModuleDict or nn.Sequential, and call `super().train(mode)` first in an own
    `train`.

    ## Near misses
    Lists of layers that are registered as well (handed to an nn.Sequential, by `add_module` or `setattr`, or each
    under an attribute of its own), lists of layers without a mode, and a `train()` that sets the mode of all its layers
    itself are left alone. So are methods of that name that train the model: `train(self, loader, optimizer)`.

    ## Source
    PyTorch's documentation of torch.nn.Module.train, and of torch.nn.ModuleList: "modules it contains are properly
    registered".
    """

    code = "DC506"
    name = "unregistered-dropout"
    examples = (
        Example(
            "a plain list",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])
        self.drops = [nn.Dropout(0.3) for _ in range(3)]

    def forward(self, x):
        for layer, drop in zip(self.layers, self.drops):
            x = drop(F.relu(layer(x)))
        return x
""",
            expect=("5: error Dropout in a plain list, self.drops, is not registered: model.eval() does not reach it",),
            input="2x64",
        ),
        Example(
            "an nn.ModuleList",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])
        self.drops = nn.ModuleList([nn.Dropout(0.3) for _ in range(3)])

    def forward(self, x):
        for layer, drop in zip(self.layers, self.drops):
            x = drop(F.relu(layer(x)))
        return x
""",
            input="2x64",
        ),
        Example(
            "a dict, and a list that grows",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 64)
        self.parts = {"norm": nn.BatchNorm1d(64), "act": nn.ReLU()}
        self.drops = []
        for rate in (0.1, 0.2):
            self.drops.append(nn.Dropout(rate))

    def forward(self, x):
        x = self.parts["act"](self.parts["norm"](self.fc(x)))
        return self.drops[1](self.drops[0](x))
""",
            expect=(
                "5: error BatchNorm1d in a plain dict, self.parts, is not registered: model.eval() does not reach it",
                "8: error Dropout in a plain list, self.drops, is not registered: model.eval() does not reach it",
            ),
            input="2x64",
        ),
        Example(
            "a train() of its own",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drop = nn.Linear(64, 64), nn.Dropout(0.5)

    def train(self, mode=True):
        self.training = mode
        return self

    def forward(self, x):
        return self.drop(self.fc(x))
""",
            expect=(
                "6: error Net.train() does not call super().train(): model.eval() does not reach the layers of Net",
            ),
            input="2x64",
        ),
        Example(
            "registered in a second place",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = [nn.Linear(64, 64), nn.Dropout(0.3)]
        self.body = nn.Sequential(*self.blocks)
        self.first, self.second = nn.Dropout(0.1), nn.Dropout(0.2)
        self.both = [self.first, self.second]

    def forward(self, x):
        return self.both[1](self.both[0](self.body(x)))
""",
            input="2x64",
        ),
        Example(
            "a train() that freezes batch norms, layers without a mode",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.bn, self.drop = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Dropout(0.2)
        self.acts = [nn.ReLU(), nn.Tanh()]

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self

    def forward(self, x):
        return self.drop(self.acts[1](self.bn(self.acts[0](self.fc(x)))))
""",
            input="2x64",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        if file.mentions("Drop|drop|BatchNorm|Transformer"):
            for one in unregistered.layers(file):
                yield self.remark(file, one.inside, one.called, one.site, Severity.ERROR, one.message)

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in subject.graph.of(Dropout, Attention, Recurrent):
            op = node.op
            if not isinstance(op, Dropout | Attention | Recurrent) or not node.random_in_eval or op.drop_rate == 0.0:
                continue
            if (op.layer if isinstance(op, Dropout) else op.kind) not in _LAYERS:
                continue
            message = f"{op.kind} drops after model.eval(), which does not reach it: it was run in evaluation mode"
            found = self.finding(subject, node, Severity.ERROR, message)
            yield found if node.built is None else replace(found, site=node.built, built=node.site)
