"""The catalogue's layers, by class name: torch's own, and those that many libraries define.

Adding a layer type means adding a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dropcheck import ops
from dropcheck.capture.rows import dropouts, norms, plain, pools, weights
from dropcheck.capture.rows.reading import DIMS, Row, each, named
from dropcheck.ops import Granularity, Reduce

_ACTIVATION_LAYERS = """
    ReLU ReLU6 GELU SiLU Tanh Sigmoid ELU SELU CELU LeakyReLU PReLU RReLU Mish Hardswish Hardsigmoid Hardtanh
    Softplus Softsign LogSigmoid Tanhshrink Softshrink Hardshrink Threshold GLU
"""
_ACTIVATION_KINDS = {"LeakyReLU": "leaky_relu", "LogSigmoid": "logsigmoid"}

MODULES: Mapping[str, Row] = {
    **each([f"Conv{d}" for d in DIMS] + [f"ConvTranspose{d}" for d in DIMS], weights.convolution),
    "Linear": weights.linear,
    "Bilinear": weights.bilinear,
    **each(["Embedding", "EmbeddingBag"], weights.embedding),
    **each(["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"], weights.recurrent),
    "MultiheadAttention": dropouts.attention,
    **each([*(f"BatchNorm{d}" for d in DIMS), "SyncBatchNorm"], norms.batch_norm),
    **each([f"InstanceNorm{d}" for d in DIMS], norms.instance_norm),
    **each(["LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm", "CrossMapLRN2d"], norms.local_norm),
    "Dropout": dropouts.dropout(Granularity.ELEMENT),
    **each([f"Dropout{d}" for d in DIMS], dropouts.dropout(Granularity.CHANNEL)),
    "AlphaDropout": dropouts.dropout(Granularity.ELEMENT, alpha=True),
    "FeatureAlphaDropout": dropouts.dropout(Granularity.CHANNEL, alpha=True),
    **{name: plain.activation(_ACTIVATION_KINDS.get(name, name.lower())) for name in _ACTIVATION_LAYERS.split()},
    **named("Softmax Softmax2d LogSoftmax Softmin", ops.Softmax),
    **each([f"{kind}MaxPool{d}" for kind in ("", "Adaptive") for d in DIMS], pools.pool(Reduce.MAX)),
    **each(["FractionalMaxPool2d", "FractionalMaxPool3d"], pools.pool(Reduce.MAX)),
    **each([f"{kind}AvgPool{d}" for kind in ("", "Adaptive") for d in DIMS], pools.pool(Reduce.MEAN)),
    **each([f"LPPool{d}" for d in DIMS], pools.pool(Reduce.MEAN)),
    **each(["Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"], plain.resample),
    **named(
        "Flatten Unflatten PixelShuffle PixelUnshuffle ChannelShuffle Fold Unfold "
        + " ".join(
            f"{kind}Pad{d}" for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular") for d in DIMS
        ),
        ops.Rearrange,
    ),
    "Identity": plain.same,
}
"""Layers of torch.nn by class name."""

_RATES = ("drop_prob", "drop_rate", "p", "prob", "rate")
_STATISTICS = ("running_var",)
_GAINS = ("weight", "gamma", "scale", "g", "a_2")

LIBRARY_MODULES: Mapping[str, tuple[tuple[str, ...], Row]] = {
    r"\w*(DropPath|StochasticDepth)": (_RATES, dropouts.foreign_dropout(Granularity.SAMPLE, _RATES)),
    r"\w*DropBlock([123][dD])?": (_RATES, dropouts.foreign_dropout(Granularity.BLOCK, _RATES)),
    r"FrozenBatchNorm([123]d)?": (_STATISTICS, norms.frozen_batch_norm),
    r"SyncBatchNorm|ABN|In[Pp]laceA(BN|bn)(Sync)?": (_STATISTICS, norms.batch_norm),
    r"\w*(Layer|RMS|Rms|FilterResponse)Norm(Tlu)?([123]d)?": (_GAINS, norms.local_norm),
}
"""Layers that many libraries define: regular expressions for the class name, and attributes of which it has one.

They count for layers without layers inside.
"""


def library_row(name: str) -> tuple[tuple[str, ...], Row] | None:
    """The row, and the attributes beside it, for a class of that name outside torch."""
    found = (row for pattern, row in LIBRARY_MODULES.items() if re.fullmatch(pattern, name))
    return next(found, None)
