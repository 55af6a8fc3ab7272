"""The operations a captured model is made of: one small frozen dataclass per kind.

These are facts about arithmetic, not about PyTorch: capture translates every module and function into one of
them, and nothing behind capture knows torch's names. A field that could not be established is ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Granularity(StrEnum):
    """What one Bernoulli draw of a dropout decides about."""

    ELEMENT = "element"
    CHANNEL = "channel"
    SAMPLE = "sample"
    BLOCK = "block"


class Reduce(StrEnum):
    """How a pooling window becomes one value."""

    MAX = "max"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor handed to the model's forward."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the model's forward returns."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that does not depend on the input: parameter, buffer, fresh zeros or random numbers.

    ``random``: drawn anew in every forward (``torch.rand``, ``bernoulli_`` …).
    """

    random: bool = False


@dataclass(frozen=True, slots=True)
class Dropout:
    """Multiplicative noise with mean 1 that only training knows.

    ``kind`` is the class or function used (``Dropout2d``, ``dropout``, ``DropPath``); ``drop_rate`` in [0, 1] is the
    probability of zeroing; ``alpha``: the SELU variant, which also shifts and rescales; ``base``: the layer of PyTorch
    whose forward a class of another name inherits, otherwise empty.

    Of a mask written by hand ``kind`` is ``mask``, or ``noise`` where nothing is zeroed (Gaussian dropout, Uout):
    ``drop_rate`` is then that of the Bernoulli dropout with the same Var[A]. A class whose forward is nothing else
    gives its name.
    """

    kind: str
    drop_rate: float
    granularity: Granularity = Granularity.ELEMENT
    alpha: bool = False
    base: str = ""

    @property
    def layer(self) -> str:
        """What PyTorch calls it, for classes and functions of PyTorch and their subclasses."""
        return self.base or self.kind


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Normalisation with stored statistics: batch norm, SyncBatchNorm, or instance norm that tracks its statistics.

    ``tracks``: running statistics are kept, so evaluation uses what training saw. ``epsilon`` as torch's ``eps``.
    """

    kind: str
    channels: int | None
    tracks: bool = True
    affine: bool = True
    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class LocalNorm:
    """Normalisation by the sample's own statistics: layer, group, instance, RMS norm. Keeps nothing of training."""

    kind: str


@dataclass(frozen=True, slots=True)
class Weight:
    """A layer that sums its inputs with learned weights.

    ``fan_in`` is d of Li et al. 2019: the number of inputs of one output unit, in_channels / groups × kernel area.
    ``positions`` is the kernel area (1 for linear layers).
    """

    kind: str
    fan_in: int | None
    out_channels: int | None = None
    positions: int = 1


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows of a learned table chosen by integer input (Embedding, EmbeddingBag)."""

    kind: str
    features: int | None = None


@dataclass(frozen=True, slots=True)
class Recurrent:
    """An RNN, LSTM or GRU, taken whole; ``drop_rate`` is the dropout between its stacked layers."""

    kind: str
    fan_in: int | None
    layers: int = 1
    drop_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention, taken whole; ``drop_rate`` acts on the attention weights."""

    kind: str
    fan_in: int | None = None
    drop_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Activation:
    """A pointwise nonlinearity. ``kind`` is torch's functional name in lower case (``relu``, ``gelu``, ``leaky_relu``).

    ``slope``: the negative slope of leaky variants. Positively homogeneous ones commute with dropout.
    """

    kind: str
    slope: float | None = None

    @property
    def homogeneous(self) -> bool:
        """Whether f(ax) = a f(x) for every a > 0, so that dropout commutes with it (Kim et al. 2023, Prop. 1)."""
        return self.kind in {"relu", "leaky_relu", "prelu", "rrelu", "abs", "identity"}


@dataclass(frozen=True, slots=True)
class Softmax:
    """Softmax, log-softmax or normalisation to unit length along an axis."""

    kind: str


@dataclass(frozen=True, slots=True)
class Pool:
    """Reduces windows of positions to one value each.

    ``window``: positions per window (k² for a k × k window), None when unknown; ``is_global``: one window per channel.
    """

    reduce: Reduce
    window: int | None
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class Add:
    """The sum (or difference) of several activations."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """The elementwise product (or quotient) of several activations: gates, masks, attention maps."""


@dataclass(frozen=True, slots=True)
class MatMul:
    """A matrix product of activations with each other (matmul, bmm, einsum)."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Several activations side by side (cat, stack)."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Multiplication by, and addition of, numbers or parameters: shifts and scales without mixing units."""

    kind: str


@dataclass(frozen=True, slots=True)
class Rearrange:
    """Moves, copies or drops elements without arithmetic: view, flatten, permute, slice, pad, nearest upsampling."""

    kind: str


@dataclass(frozen=True, slots=True)
class Resample:
    """Averages neighbours with fixed weights: bilinear or bicubic interpolation, grid_sample."""

    kind: str


@dataclass(frozen=True, slots=True)
class Statistic:
    """A sum, mean, variance or extremum along axes that is not a spatial pooling."""

    kind: str


@dataclass(frozen=True, slots=True)
class Discrete:
    """Integers or truth values computed from activations (argmax, comparisons): no variance travels through."""

    kind: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """An operation the catalogue has no row for. Never assumed harmless."""

    target: str


Op = (
    Input
    | Output
    | Constant
    | Dropout
    | BatchNorm
    | LocalNorm
    | Weight
    | Lookup
    | Recurrent
    | Attention
    | Activation
    | Softmax
    | Pool
    | Add
    | Multiply
    | MatMul
    | Concat
    | Scale
    | Rearrange
    | Resample
    | Statistic
    | Discrete
    | Opaque
)

# A product of two activations sums many units just as learned weights do.
WEIGHT_LAYERS = (Weight, Recurrent, Attention, MatMul)
NORMS = (BatchNorm, LocalNorm)
