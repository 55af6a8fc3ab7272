"""DC601: dropout at every layer of a network that nothing normalises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dropcheck.branches import drops_units
from dropcheck.encounter import shown
from dropcheck.graph import NORMS, Graph, Node
from dropcheck.ops import (
    Activation,
    Add,
    Concat,
    Dropout,
    Input,
    Lookup,
    MatMul,
    Multiply,
    Output,
    Pool,
    Rearrange,
    Reduce,
    Resample,
    Scale,
    Weight,
)
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.shift import Evidence, gaussian_moments
from dropcheck.shift.closed_forms import corrected_init_scale, corrected_init_scale_forward, forward_variance_factor
from dropcheck.shift.priors import GLOBAL_WINDOW, LOCAL_WINDOW

_MLP = """\
class Net(nn.Module):
    def __init__(self, width=256, depth={depth}, p={p}):
        super().__init__()
        sizes = [784] + [width] * depth
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:]))
        self.norms = nn.ModuleList(nn.{norm} for _ in self.layers)
        self.dropout, self.head = nn.Dropout(p), nn.Linear(width, 10)

    def forward(self, x):
        for layer, norm in zip(self.layers, self.norms):
            x = self.dropout(F.relu(norm(layer(x))))
        return self.head(x)
"""


@dataclass(frozen=True, slots=True)
class _Noise:
    """What dropouts have made of the forward variance: its factor, their number on the way, and the last of them."""

    factor: float = 1.0
    dropouts: int = 0
    last: Node | None = None


class UncorrectedInitWithDropout(Rule):
    """Many dropouts, and neither a norm nor, as far as the code shows, an initialisation that makes up for them.

    ## Why is this bad
    Initialisations such as He's and Xavier's are made to keep the variance of a signal from layer to layer. Dropout of
    keep probability p multiplies it by 1/p on top, at every layer: 8 layers at p = 0.5 by 256. The deeper layers start
    with inputs far from what they were initialised for, and with logits that are too large by the square root of it:
    the first steps go to shrinking them, and large learning rates diverge.

    ## Use instead
    Initialise with filters of unit norm, divided by sqrt(E[f²]/p + p·E[f′²]) for the activation f ahead of the layer, or
    by sqrt(E[f²]/p) for convolutions; or put a norm such as nn.LayerNorm between the layers.

    What initialises a network is not seen in its graph. Where it is corrected already, say so with an ignore.

    ## Near misses
    Silent: any batch, layer, group or instance norm in the network; fewer than four dropouts in a row, as in the
    classifiers of AlexNet and VGG; a row that starts anew at recurrent layers, attention and softmax, whose output is
    bounded; residual sums and concatenations, which count as their quietest term; AlphaDropout and stochastic depth;
    dropouts of rate 0 or held in evaluation mode; trained weights.

    ## Options
    None. It is a warning where the variance at some layer is eight times that without dropout: with logits of unit
    variance the loss then starts about 3.5 nats too high. From four times it is info.

    ## Source
    Hendrycks and Gimpel 2016, "Adjusting for Dropout Variance in Batch Normalization and Weight Initialization",
    sections 2.1.1 and 2.2.
    """

    code = "DC601"
    name = "uncorrected-init-with-dropout"
    examples = (
        Example(
            "dropout at every layer of a deep MLP",
            _MLP.format(depth=8, p=0.5, norm="Identity()"),
            expect=(
                "11: warning Dropout(0.50) is the last of 8 dropouts in a row without a norm: at initialisation the variance at 'head' is 256x that without dropout; corrected: filters of unit norm times 0.894 (relu, keep probability 0.5)",
            ),
            input="2x784",
        ),
        Example(
            "a norm between the layers",
            _MLP.format(depth=8, p=0.5, norm="LayerNorm(width)"),
            input="2x784",
        ),
        Example(
            "convolutions, functional, not all at the same rate",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3), nn.Conv2d(64, 128, 3)
        self.conv4, self.conv5 = nn.Conv2d(128, 128, 3), nn.Conv2d(128, 128, 3)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        x = F.dropout(F.relu(self.conv1(x)), 0.3, self.training)
        x = F.dropout(F.relu(self.conv2(x)), 0.4, self.training)
        x = F.dropout(F.relu(self.conv3(x)), 0.4, self.training)
        x = F.dropout(F.relu(self.conv4(x)), 0.4, self.training)
        x = F.relu(self.conv5(x)).amax((2, 3))
        return self.fc(x)
""",
            expect=(
                "12: info dropout(0.40) is the last of 4 dropouts in a row without a norm: at initialisation the variance at 'conv5' is 6.61x that without dropout; corrected: filters of unit norm times 1.095 (relu, keep probability 0.6)",
            ),
            input="2x3x16x16",
        ),
        Example(
            "tanh, in a Sequential: bounded, and so less",
            """\
layers = []
for _ in range(6):
    layers += [nn.Linear(64, 64), nn.Tanh(), nn.Dropout(0.5)]
net = nn.Sequential(*layers, nn.Linear(64, 2))
""",
            input="4x64",
        ),
        Example("a drop rate of zero", _MLP.format(depth=8, p=0.0, norm="Identity()"), input="2x784"),
        Example("small rates", _MLP.format(depth=8, p=0.1, norm="Identity()"), input="2x784"),
        Example(
            "held in evaluation mode",
            _MLP.format(depth=8, p=0.5, norm="Identity()") + "net = Net()\nnet.dropout.eval()\n",
            input="2x784",
        ),
        Example(
            "two dropouts in a classifier",
            """\
net = nn.Sequential(
    nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(6), nn.Flatten(),
    nn.Dropout(), nn.Linear(64 * 36, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10),
)
""",
            input="2x3x16x16",
        ),
        Example(
            "a recurrent classifier",
            """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(16, 64, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(64, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.fc(self.dropout(self.lstm(self.dropout(x))[0][:, -1]))
""",
            input="2x7x16",
        ),
    )

    several = 4  # dropouts: more than classifiers are used to
    notable = 4.0  # times the variance without dropout, for info
    harmful = 8.0  # the same, for a warning

    def check(self, subject: Subject) -> Iterator[Finding]:
        graph = subject.graph
        if subject.shifts.evidence is not Evidence.PRIOR or graph.of(*NORMS):
            return
        if sum(map(drops_units, graph.of(Dropout))) >= self.several:
            yield from self._worst(subject, _noise(graph))

    def _worst(self, subject: Subject, noise: dict[str, _Noise]) -> Iterator[Finding]:
        reached = [(noise[layer.name], layer) for layer in subject.graph.of(Weight) if layer.name in noise]
        reached = [(noise, layer) for noise, layer in reached if noise.dropouts >= self.several]
        if not reached:
            return
        worst, layer = max(reached, key=lambda one: one[0].factor)
        if worst.factor < self.notable or worst.last is None or not isinstance(worst.last.op, Dropout):
            return
        severity = Severity.WARNING if worst.factor >= self.harmful else Severity.INFO
        message = (
            f"{shown(worst.last.op)} is the last of {worst.dropouts} dropouts in a row without a norm: at initialisation "
            f"the variance at {layer.path!r} is {worst.factor:.3g}x that without dropout; "
            f"{_corrected(subject.graph, worst.last, layer)}"
        )
        yield self.finding(subject, worst.last, severity, message)


def _corrected(graph: Graph, dropout: Node, layer: Node) -> str:
    """``corrected: filters of unit norm times 0.894 (relu, keep probability 0.5)``"""
    keep_prob = 1.0 - dropout.op.drop_rate if isinstance(dropout.op, Dropout) else 1.0
    above = graph.producers(dropout)
    while above and isinstance(above[0].op, Rearrange | Pool | Dropout | Scale):
        above = graph.producers(above[0])
    activation = above[0].op if above and isinstance(above[0].op, Activation) else Activation("identity")
    unit = gaussian_moments(activation.kind, slope=activation.slope)
    if isinstance(layer.op, Weight) and layer.op.positions > 1:
        scale = corrected_init_scale_forward(keep_prob, unit.second_moment)
    else:
        scale = corrected_init_scale(keep_prob, unit.second_moment, unit.slope_second_moment)
    return f"corrected: filters of unit norm times {scale:.3f} ({activation.kind}, keep probability {keep_prob:.3g})"


def _noise(graph: Graph) -> dict[str, _Noise]:
    """Of every node that depends on the inputs, weights being such that without dropout all layers keep the variance."""
    noise: dict[str, _Noise] = {}
    for node in graph:
        arriving = [noise[name] for name in node.inputs if name in noise]
        if isinstance(node.op, Input | Lookup):
            noise[node.name] = _Noise()
        elif arriving:
            noise[node.name] = _behind(node, arriving)
    return noise


def _behind(node: Node, arriving: list[_Noise]) -> _Noise:
    first = arriving[0]
    match node.op:
        case Dropout() as drop if drops_units(node) and not drop.alpha:
            factor = first.factor * forward_variance_factor(1.0 - drop.drop_rate, 1.0)
            return _Noise(factor, first.dropouts + 1, node)
        case Activation(homogeneous=False) as activation:
            return replace(first, factor=_through(activation, first.factor))
        case Pool(reduce=Reduce.MEAN) as pool:
            typical = GLOBAL_WINDOW if pool.is_global else LOCAL_WINDOW
            window = typical if pool.window is None else pool.window
            return replace(first, factor=1.0 + (first.factor - 1.0) / window)
        case Add() | Concat():
            return min(arriving, key=lambda one: one.factor)
        case Multiply() | MatMul() | Weight():
            return max(arriving, key=lambda one: one.factor)
        case Dropout() | Activation() | Pool() | Rearrange() | Resample() | Scale() | Output():
            return first
    return _Noise()  # recurrent layers, attention and softmax are bounded, of other operations nothing is known


def _through(activation: Activation, factor: float) -> float:
    """What an activation leaves of the factor: E[f²] of a unit Gaussian with that variance, beside that without."""
    slope = activation.slope
    before = gaussian_moments(activation.kind, slope=slope).second_moment
    return gaussian_moments(activation.kind, var=factor, slope=slope).second_moment / before
