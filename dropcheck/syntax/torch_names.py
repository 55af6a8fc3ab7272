"""The functions and layers of torch and its kin that the rules ask about, by their dotted names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_F = "torch.nn.functional"


@dataclass(frozen=True, slots=True)
class DropoutFunction:
    """A functional dropout: what its third parameter, the training flag, is called, and what it is if left out."""

    flag: str
    default: bool | None = None


_NATIVE = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
DROPOUT_FUNCTIONS: Mapping[str, DropoutFunction] = {
    **{
        f"{_F}.{kind}": DropoutFunction("training", True) for kind in ("dropout", "dropout1d", "dropout2d", "dropout3d")
    },
    **{f"{_F}.{kind}": DropoutFunction("training", False) for kind in ("alpha_dropout", "feature_alpha_dropout")},
    **{f"torch.{kind}{inplace}": DropoutFunction("train") for kind in _NATIVE for inplace in ("", "_")},
    "torch.native_dropout": DropoutFunction("train"),
}
"""By dotted name; the second parameter of all is ``p``."""

DROPOUT_LAYER_KINDS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
DROPOUT_LAYERS = frozenset(f"torch.nn.{kind}" for kind in DROPOUT_LAYER_KINDS)
_OTHER_DROPOUT_LAYERS = re.compile(r"(torchvision|timm)\.[\w.]*\b(StochasticDepth|DropPath|DropBlock2d|PatchDropout)$")

DROPPING_BY_DEFAULT = frozenset(
    f"torch.nn.{kind}" for kind in ("Transformer", "TransformerEncoderLayer", "TransformerDecoderLayer")
)
DROPPING_INSIDE = DROPPING_BY_DEFAULT | {f"torch.nn.{kind}" for kind in ("MultiheadAttention", "RNN", "LSTM", "GRU")}
"""Layers with dropout inside, by their argument ``dropout``."""

BATCH_NORMS = frozenset(
    (*(f"torch.nn.{lazy}BatchNorm{axes}d" for lazy in ("", "Lazy") for axes in (1, 2, 3)), "torch.nn.SyncBatchNorm")
)

REGISTERING = frozenset(f"torch.nn.{kind}" for kind in ("ModuleList", "ModuleDict", "Sequential"))
"""Containers that register what they are given."""


@dataclass(frozen=True, slots=True)
class AttentionFunction:
    """A fused attention: where its drop rate stands among the arguments, and its training flag if it has one."""

    position: int
    keyword: str = "dropout_p"
    flag: tuple[int, str] | None = None


ATTENTION_FUNCTIONS: Mapping[str, AttentionFunction] = {
    f"{_F}.scaled_dot_product_attention": AttentionFunction(4),
    f"{_F}.multi_head_attention_forward": AttentionFunction(10, flag=(13, "training")),
    "torch.scaled_dot_product_attention": AttentionFunction(4),
    "torch._C._nn.scaled_dot_product_attention": AttentionFunction(4),
}
_FLASH: Mapping[str, int] = {
    "flash_attn_func": 3,
    "flash_attn_kvpacked_func": 2,
    "flash_attn_qkvpacked_func": 1,
    "flash_attn_varlen_func": 7,
    "flash_attn_varlen_kvpacked_func": 6,
    "flash_attn_varlen_qkvpacked_func": 3,
    "flash_attn_unpadded_func": 7,
    "flash_attn_unpadded_kvpacked_func": 6,
    "flash_attn_unpadded_qkvpacked_func": 3,
}


def is_dropout_layer(name: str) -> bool:
    return name in DROPOUT_LAYERS or _OTHER_DROPOUT_LAYERS.match(name) is not None


def attention_function(name: str) -> AttentionFunction | None:
    """What a dotted name is, if it is a fused attention of torch, flash-attn or xformers."""
    last = name.rpartition(".")[2]
    if last in _FLASH:
        return AttentionFunction(_FLASH[last])
    if last == "memory_efficient_attention":
        return AttentionFunction(4, "p")
    return ATTENTION_FUNCTIONS.get(name)
