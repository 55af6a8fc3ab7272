"""DC302: dropout behind the last layer of a network."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dropcheck.branches import drops_units
from dropcheck.encounter import shown
from dropcheck.graph import WEIGHT_LAYERS, Graph, Node
from dropcheck.ops import Activation, Dropout, Input, Output, Rearrange, Scale, Softmax, Weight
from dropcheck.rule import Example, Finding, Rule, Severity, Subject

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 32, 3, padding=1), nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Linear(32, 128), nn.Linear(128, {0})
        self.dropout = nn.Dropout({1})

    def forward(self, x):
        x = self.pool(F.relu(self.conv(x))).flatten(1)
        {2}
        return {3}
"""
_ON_LOGITS = ("x = self.fc2(F.relu(self.fc1(x)))", "self.dropout(x)")
_HINTS = frozenset({"classifier", "cls", "head", "logit", "logits", "output", "prediction", "predictor"})
_PARTS = re.compile(
    r"encoder|embed|feature|backbone|extract|proj|attention|feed_?forward|ffn|adapter|neck|pooler|(block|layer)s?\d*$"
)
_WHOLES = re.compile(r"classif|regress|predict")


class DropoutOnLogits(Rule):
    """Dropout is applied to the network's output.

    ## Why is this bad
    Dropout makes the layers that read it work without some of their inputs. Behind the last layer nobody reads it: in
    training each output is zeroed with probability q and divided by 1 − q otherwise, whatever the network has learned.
    A zeroed logit is a random error in the loss, a zeroed regression output a wrong answer.

    ## Use instead
    Put the dropout ahead of the last layer, on the features it reads.

    ## Near misses
    What is reported is dropout of what a softmax or sigmoid at the output reads, and dropout of vectors right behind a
    weight layer that has fewer outputs than inputs and ends a head or bears a name such as `classifier`. Left alone are
    building blocks that end in dropout (an MLP that is as wide as its input, attention, an encoder's layer), feature
    extractors, feature maps and sequences, outputs behind an activation such as ReLU, a drop rate of 0, and dropout held
    in evaluation mode. Where it is not clear that these are a network's last outputs, nothing is said.

    ## Source
    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4: what is
    dropped are the inputs of layers.
    """

    code = "DC302"
    name = "dropout-on-logits"
    examples = (
        Example(
            "behind the last layer",
            _NET.format(10, 0.5, *_ON_LOGITS),
            expect=(
                "11: warning Dropout(0.50) drops the network's output, that of 'fc2': in training 50% of it is zero",
            ),
            input="2x3x8x8",
        ),
        Example(
            "on the features that the last layer reads",
            _NET.format(10, 0.5, "x = self.dropout(F.relu(self.fc1(x)))", "self.fc2(x)"),
            input="2x3x8x8",
        ),
        Example(
            "functional, ahead of log-softmax",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 64), nn.Linear(64, 64)

    def forward(self, x):
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.dropout(F.relu(self.fc2(x)), training=self.training)
        return F.log_softmax(x, dim=1)
""",
            expect=(
                "8: warning dropout(0.50) drops what '/log_softmax' turns into the network's output: in training 50% of it is zero",
            ),
            input="2x1x28x28",
        ),
        Example(
            "at the end of a Sequential",
            """\
def mlp(sizes, p):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(p)]
    del layers[-2]
    return nn.Sequential(*layers)

net = mlp([20, 64, 64, 1], 0.2)
""",
            expect=("4: warning Dropout(0.20) drops the network's output, that of '6': in training 20% of it is zero",),
            input="8x20",
        ),
        Example(
            "a detector's probability",
            _NET.format(1, 0.3, "x = self.dropout(self.fc2(F.relu(self.fc1(x))))", "torch.sigmoid(x).squeeze(1)"),
            expect=(
                "10: warning Dropout(0.30) drops what '/sigmoid' turns into the network's output: in training 30% of it is zero",
            ),
            input="2x3x8x8",
        ),
        Example("a drop rate of zero", _NET.format(10, 0.0, *_ON_LOGITS), input="2x3x8x8"),
        Example(
            "held in evaluation mode",
            _NET.format(10, 0.5, *_ON_LOGITS) + "net = Net()\nnet.dropout.eval()\n",
            input="2x3x8x8",
        ),
        Example("an embedding as wide as what it is made of", _NET.format(128, 0.5, *_ON_LOGITS), input="2x3x8x8"),
        Example(
            "features behind an activation",
            _NET.format(10, 0.5, "x = F.relu(self.fc2(F.relu(self.fc1(x))))", "self.dropout(x)"),
            input="2x3x8x8",
        ),
        Example(
            "a transformer's MLP",
            """\
class Mlp(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.fc1, self.fc2, self.drop = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))

net = Mlp()
""",
            input="2x64",
        ),
        Example(
            "a sequence",
            "net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10), nn.Dropout(0.1))",
            input="2x7x64",
        ),
    )

    few = 20  # outputs: few enough for classes or targets, too few for features
    many = 1000  # outputs: ImageNet's classes, more than most feature vectors have

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in filter(drops_units, subject.graph.of(Dropout)):
            behind = _behind(subject.graph, node)
            if behind is None or not isinstance(node.op, Dropout):
                continue
            layer = _read(subject.graph, node)
            if behind:
                lost = f"what {behind[-1].path!r} turns into the network's output"
            elif self._ends_network(subject, node, layer):
                lost = f"the network's output, that of {layer.path!r}"
            else:
                continue
            message = f"{shown(node.op)} drops {lost}: in training {node.op.drop_rate:.0%} of it is zero"
            yield self.finding(subject, node, Severity.WARNING, message)

    def _ends_network(self, subject: Subject, dropout: Node, layer: Node) -> bool:
        """Whether what is dropped are a network's last values, and not features or a building block's."""
        graph, last = subject.graph, layer.op
        if not isinstance(last, Weight) or last.out_channels is None or last.fan_in is None:
            return False
        if dropout.shape is None or len(dropout.shape) != 2 or last.out_channels >= last.fan_in // last.positions:
            return False
        if _is_part(subject, layer) or any(
            node.shape and node.shape[-1] == last.out_channels for node in graph.of(Input)
        ):
            return False
        if _HINTS & set(re.split(r"[^a-z]+", layer.path.lower())):
            return True
        if last.out_channels in subject.guessed:
            return False
        ends_head = len(graph.of(*WEIGHT_LAYERS)) > 1 and layer in graph.head()
        return last.out_channels <= (self.many if ends_head else self.few)


def _behind(graph: Graph, dropout: Node) -> list[Node] | None:
    """The softmaxes and sigmoids between it and the outputs; None if anything else is there but moves and scales, or
    if it does not get there.
    """
    found: list[Node] = []
    pending = [dropout]
    arrives = False
    while pending:
        for node in graph.successors(pending.pop()):
            probabilities = isinstance(node.op, Softmax) and node.op.kind != "normalize"
            if probabilities or (isinstance(node.op, Activation) and "sigmoid" in node.op.kind):
                found.append(node)
            elif not isinstance(node.op, (Output, Rearrange, Scale)):
                return None
            arrives = arrives or isinstance(node.op, Output)
            pending.append(node)
    return found if arrives else None


def _read(graph: Graph, dropout: Node) -> Node:
    """What it drops, before values were moved."""
    node = next(iter(graph.producers(dropout)), dropout)  # parameters have no producer
    while isinstance(node.op, Rearrange) and node.inputs:
        node = graph.producers(node)[0]
    return node


def _is_part(subject: Subject, layer: Node) -> bool:
    """Whether the names of model or layer speak of features or of a building block."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", subject.target.rpartition(":")[2]).lower()
    if re.search(r"encoder|embed|proj|attention|backbone", layer.path.lower()):
        return True
    return bool(_PARTS.search(name)) and not _WHOLES.search(name)
