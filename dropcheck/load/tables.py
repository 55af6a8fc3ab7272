"""What names of constructor parameters usually mean. Small tables, first row that matches."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Values in the order to try them: the n-th try takes every parameter's n-th value (or its last), so that an input
# width given as 16 meets blocks that are 16 wide.
NUMBERS: Sequence[tuple[str, tuple[float, ...]]] = (
    (r"(num_|n_)?groups?|dilation|strides?|s|scale|temperature|gamma|alpha|beta", (1,)),
    (r"padding|pad|output_padding", (1, 0)),
    (r"(n_?|num_?)?(spatial_?dim(ension)?s?|dimensions)", (2,)),
    (r"kernel(_?sizes?)?|ks|kernel_width|filter_size", (3,)),
    (r"pool(_?sizes?)?|expansions?|expand(_?ratios?)?|mlp_ratio|ratio|t|scale_factor|upscale(_factor)?|factor", (2,)),
    (r"reduction(_ratio)?|squeeze(_ratio)?|patch(_?size)?|window(_?size)?|multiplier|growth|cardinality", (4,)),
    # Low on purpose: a rate nobody wrote must not be what a finding is about.
    (r".*(learning|dilation|sample|sampling|atrous|growth|frame)_?rate", (2,)),
    (r".*drop.*|p|p_?\d|prob|probability|rate|.*keep_?prob", (0.1,)),
    (r"eps|epsilon", (1e-5,)),
    (r"momentum", (0.1,)),
    (r"lr|learning_rate|weight_decay", (1e-3,)),
    (r"(num_?|n_?|nr_)?(vocab(ulary)?(_?size)?|tokens?|embeddings?|words)|ntokens?|input_vocab.*|.*vocab_size", (100,)),
    (
        r"(max_)?(seq(uence)?_?)?len(gth)?|max_(positions?|seq.*)|block_size|context(_length|_size)?|seq_.*|.*_len",
        (16,),
    ),
    (r"(img|image|input|crop)_?(size|res|resolution|height|width|h|w)|resolution|height|width_px", (32, 224)),
    (
        r"(num_?|n_?)?(class(es)?|labels?|categories|outputs?|targets?|actions?)|nclass|ncls|n_out|out(put)?_?(features?|dims?|size|units)",
        (10,),
    ),
    (
        r"(in|input|img|image|src|source)_?(num_?)?(channels?|chans?|ch|planes?|c|nc|filters)s?|c_?in|ch_in|inp|nc|input_nc|inplanes|nin",
        (3, 16, 64, 1),
    ),
    (r"(in|input|n|num)_?(num_?)?(features?|dims?|size|units|inputs?)|nfeat|ninp|in|feats?(_dim|_size)?", (64, 16)),
    (r".*heads?|nhead", (4,)),
    (r".*(depth|layers|blocks|stages|repeats?|times|cells|levels)s?|n", (2,)),
    (
        r".*(hidden|hid|embed|emb|latent|model|ff|mlp|head|token)_?.*(dim|size|units|features|channels)?s?|d_.*|dims?|nhid",
        (64, 16),
    ),
    (
        r".*(channels?|chans?|planes?|filters?|width|features?|maps|units|neurons|size|dim|ch|nf|out|outp|oup|base|c|k)s?\d*",
        (16, 16, 16, 64),
    ),
)

# A list, where the parameter is one: its entries.
LISTS: Sequence[tuple[str, tuple[float, ...]]] = (
    (r".*(layers|blocks|depths?|repeats|num)s?", (2, 2, 2, 2)),
    (r".*(stride|dilation|group|scale)s?", (1, 1, 1, 1)),
    (r".*(kernel|kernel_?size)s?|ks", (3, 3, 3, 3)),
    (r".*(heads)", (4, 4, 4, 4)),
    (r".*(size|shape|resolution)", (32, 32)),
    (r".*drop.*|p|ps", (0.1, 0.1, 0.1, 0.1)),
    (r".*", (16, 32)),
)

ACTIVATION = re.compile(r".*(act|activation|nonlin(earity)?)(_?(fn|func|layer|cls|function))?|nl|.*act_layer")
NORM = re.compile(r".*norm(alization)?(_?(fn|layer|cls|op|type))?|bn")
MODULE = re.compile(r"((base|main|inner|wrapped|pretrained|teacher|student)_)?(model|module|net|network|backbone)")
BLOCK = re.compile(r".*(block|bottleneck|layer|cell|module)(_?(fn|cls|type|class))?s?|block_?.*")
ONE_BLOCK = re.compile(r"(.*_)?block(_?(fn|cls|type|class))?")
INPUT_SHAPE = re.compile(r"(in|input|img|image|obs|observation|state)_?(shape|size|dims?)")
DEVICE = re.compile(r"device|dev|gpu")
COUNTS = re.compile(r"(num_|n_)?(layers|blocks|depths|repeats|stages)")
FLAG = re.compile(
    r"(use|is|has|with|do|enable|apply|add|return|skip|shortcut|bias|residual|downsample)(_.*)?|.*_bias|batch_?norm"
)


def number_for(name: str) -> tuple[float, ...] | None:
    """The numbers a parameter of this name usually takes, None for a name that says nothing."""
    return next((values for pattern, values in NUMBERS if re.fullmatch(pattern, name.lower())), None)


def list_for(name: str, length: int) -> tuple[float, ...]:
    """The entries of a list-valued parameter; ``length`` of them if that is known (not 0)."""
    entries = next(values for pattern, values in LISTS if re.fullmatch(pattern, name.lower()))
    return (entries * (length // len(entries) + 1))[:length] if length else entries
