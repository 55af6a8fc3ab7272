"""The catalogue: what every module and function that dropcheck understands does, in one table.

Adding a layer type means adding one row. Modules are looked up by class, along the bases, as long as the class keeps
the ``forward`` the row describes; a subclass with a forward of its own is looked into instead. Layers of other
libraries are known by their plain class name, so that the library need not be installed. Functions are known by
plain name: ``F.relu``, ``torch.relu_`` and ``Tensor.relu`` are all ``relu``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from dropcheck import ops
from dropcheck.capture import rows
from dropcheck.capture.rows import Row
from dropcheck.ops import Granularity, Reduce


def _each(names: Iterable[str], row: Row) -> dict[str, Row]:
    return dict.fromkeys(names, row)


def _named(
    names: str, kind: type[ops.Softmax | ops.Rearrange | ops.Statistic | ops.Discrete | ops.Scale]
) -> dict[str, Row]:
    return _each(names.split(), rows.of_kind(kind))


_DIMS = ("1d", "2d", "3d")
_ACTIVATION_LAYERS = (
    "ReLU ReLU6 GELU SiLU Tanh Sigmoid ELU SELU CELU LeakyReLU PReLU RReLU Mish Hardswish Hardsigmoid Hardtanh Softplus "
    "Softsign LogSigmoid Tanhshrink Softshrink Hardshrink Threshold GLU"
)
_ACTIVATION_KINDS = {"LeakyReLU": "leaky_relu", "LogSigmoid": "logsigmoid"}

MODULES: Mapping[str, Row] = {
    **_each([f"Conv{d}" for d in _DIMS] + [f"ConvTranspose{d}" for d in _DIMS], rows.convolution),
    "Linear": rows.linear,
    "Bilinear": rows.bilinear,
    **_each(["Embedding", "EmbeddingBag"], rows.embedding),
    **_each(["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"], rows.recurrent),
    "MultiheadAttention": rows.attention,
    **_each([*(f"BatchNorm{d}" for d in _DIMS), "SyncBatchNorm"], rows.batch_norm),
    **_each([f"InstanceNorm{d}" for d in _DIMS], rows.instance_norm),
    **_each(["LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm", "CrossMapLRN2d"], rows.local_norm),
    "Dropout": rows.dropout(Granularity.ELEMENT),
    **_each([f"Dropout{d}" for d in _DIMS], rows.dropout(Granularity.CHANNEL)),
    "AlphaDropout": rows.dropout(Granularity.ELEMENT, alpha=True),
    "FeatureAlphaDropout": rows.dropout(Granularity.CHANNEL, alpha=True),
    **{name: rows.activation(_ACTIVATION_KINDS.get(name, name.lower())) for name in _ACTIVATION_LAYERS.split()},
    **_named("Softmax Softmax2d LogSoftmax Softmin", ops.Softmax),
    **_each([f"{kind}MaxPool{d}" for kind in ("", "Adaptive") for d in _DIMS], rows.pool(Reduce.MAX)),
    **_each(["FractionalMaxPool2d", "FractionalMaxPool3d"], rows.pool(Reduce.MAX)),
    **_each([f"{kind}AvgPool{d}" for kind in ("", "Adaptive") for d in _DIMS], rows.pool(Reduce.MEAN)),
    **_each([f"LPPool{d}" for d in _DIMS], rows.pool(Reduce.MEAN)),
    **_each(["Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"], rows.resample),
    **_named(
        "Flatten Unflatten PixelShuffle PixelUnshuffle ChannelShuffle Fold Unfold "
        + " ".join(
            f"{kind}Pad{d}" for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular") for d in _DIMS
        ),
        ops.Rearrange,
    ),
    "Identity": rows.same,
}
"""Layers of torch.nn by class name."""

LIBRARY_MODULES: Mapping[str, tuple[str, Row]] = {
    "DropPath": ("drop_prob", rows.dropout(Granularity.SAMPLE, attribute="drop_prob")),
    "StochasticDepth": ("p", rows.stochastic_depth),
    "FrozenBatchNorm2d": ("running_var", rows.batch_norm),
}
"""Layers of other libraries, known by class name as long as they have the attribute named beside the row."""

_REARRANGE = """view reshape flatten unflatten ravel permute transpose t T mT H mH adjoint squeeze unsqueeze expand expand_as
 broadcast_to broadcast_tensors repeat repeat_interleave tile getitem setitem chunk split split_with_sizes tensor_split
 hsplit vsplit dsplit unbind narrow select index_select gather take take_along_dim roll flip fliplr flipud rot90 pad
 unfold fold im2col col2im pixel_shuffle pixel_unshuffle channel_shuffle movedim moveaxis swapaxes swapdims view_as
 reshape_as atleast_1d atleast_2d atleast_3d as_strided masked_select tril triu diagonal diag diag_embed
 diagonal_scatter sort topk masked_fill index_put index_add index_copy index_fill scatter scatter_add scatter_reduce
 masked_scatter where copy type_as real imag view_as_real view_as_complex polar complex meshgrid cartesian_prod
 one_hot nan_to_num fill zero resize unsafe_chunk unsafe_split slice_scatter select_scatter block_diag kthvalue mode
 native_channel_shuffle constant_pad_nd put column_stack combinations select_copy"""
_SAME = """contiguous clone detach to type float half double bfloat16 cpu cuda requires_grad data alias identity
 resolve_conj conj_physical conj positive pin_memory cfloat to_dense share_memory retain_grad refine_names rename
 align_to as_subclass _assert_async grad_mode lift_fresh"""
_SCALE = "neg negative reciprocal rsub float_power rdiv addcmul addcdiv lerp dequantize fake_quantize_per_tensor_affine"
_ACTIVATIONS = """relu relu6 gelu silu tanh sigmoid elu selu celu prelu rrelu mish hardswish hardsigmoid hardtanh
 softplus softsign logsigmoid tanhshrink softshrink hardshrink threshold glu abs exp expm1 log log1p log2 log10 sqrt rsqrt
 square pow sin cos tan sinh cosh asin acos atan atan2 asinh acosh atanh erf erfc erfinv exp2 logit sinc sgn sign
 special_expit absolute lgamma digamma angle frac"""
_STATISTICS = """sum mean var std var_mean std_mean norm vector_norm matrix_norm linalg_norm logsumexp prod cumsum cumprod
 logcumsumexp median nanmean nansum quantile dist cdist pairwise_distance pdist cosine_similarity trace min amin cummax cummin
 det logdet slogdet inverse pinv svd eigh eigvalsh qr cholesky solve histc cov corrcoef diff fft_fft fft_ifft
 fft_fft2 fft_ifft2 fft_rfft fft_irfft fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_fftshift fft_ifftshift stft istft
 cross_entropy binary_cross_entropy binary_cross_entropy_with_logits nll_loss mse_loss l1_loss smooth_l1_loss
 huber_loss kl_div ctc_loss triplet_margin_loss cosine_embedding_loss cross renorm segment_reduce mode logaddexp"""
_DISCRETE = """eq ne lt le gt ge equal isclose allclose isnan isinf isfinite logical_and logical_or logical_not
 logical_xor argmax argmin argsort nonzero long int short bool byte char round floor ceil trunc floor_divide remainder
 fmod and or xor invert bitwise_and bitwise_or bitwise_xor bitwise_not any all count_nonzero bucketize searchsorted unique
 unique_consecutive bincount sign_bit histogram isin numel_ iand ior ixor rshift lshift any_ heaviside"""
_CONSTANTS = """zeros ones full empty arange linspace logspace eye tensor as_tensor scalar_tensor from_numpy zeros_like
 ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor tril_indices triu_indices hann_window
 hamming_window empty_strided range asarray"""
_RANDOM = """rand randn randint rand_like randn_like randint_like bernoulli normal uniform exponential log_normal cauchy geometric
 multinomial randperm poisson random"""

FUNCTIONS: Mapping[str, Row] = {
    **_each(
        ["conv1d", "conv2d", "conv3d", "_convolution", "convolution"], rows.functional_convolution(transposed=False)
    ),
    **_each([f"conv_transpose{d}" for d in _DIMS], rows.functional_convolution(transposed=True)),
    "linear": rows.functional_linear,
    "bilinear": rows.functional_linear,
    **_each(["lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"], rows.functional_recurrent),
    **_each(["embedding", "embedding_bag"], rows.of_kind(ops.Lookup)),
    **_each(["scaled_dot_product_attention", "multi_head_attention_forward"], rows.attention),
    "batch_norm": rows.functional_batch_norm,
    "instance_norm": rows.functional_instance_norm,
    **_each(["layer_norm", "group_norm", "rms_norm", "local_response_norm"], rows.local_norm),
    **_each(["dropout", "native_dropout"], rows.dropout(Granularity.ELEMENT)),
    **_each(["dropout1d", "dropout2d", "dropout3d", "feature_dropout"], rows.dropout(Granularity.CHANNEL)),
    "alpha_dropout": rows.dropout(Granularity.ELEMENT, alpha=True),
    "feature_alpha_dropout": rows.dropout(Granularity.CHANNEL, alpha=True),
    **{name: rows.activation(name) for name in _ACTIVATIONS.split()},
    "leaky_relu": rows.activation("leaky_relu"),
    **_each(["clamp", "clip", "clamp_min"], rows.clamp),
    **_each(["clamp_max", "maximum", "minimum", "fmax", "fmin"], rows.maximum),
    **_named("softmax log_softmax softmin gumbel_softmax normalize", ops.Softmax),
    **_each(
        [f"{a}max_pool{d}{w}" for a in ("", "adaptive_") for d in _DIMS for w in ("", "_with_indices")],
        rows.pool(Reduce.MAX),
    ),
    **_each(["fractional_max_pool2d", "fractional_max_pool3d"], rows.pool(Reduce.MAX)),
    **_each([f"{a}avg_pool{d}" for a in ("", "adaptive_") for d in _DIMS], rows.pool(Reduce.MEAN)),
    **_each(["lp_pool1d", "lp_pool2d", "lp_pool3d"], rows.pool(Reduce.MEAN)),
    **_named(_STATISTICS, ops.Statistic),
    **_each(["mean", "sum", "nanmean"], rows.reduction(Reduce.MEAN)),
    **_each(["max", "min"], rows.extremum),
    "amax": rows.reduction(Reduce.MAX),
    **_each(["interpolate", "upsample", "upsample_nearest", "upsample_bilinear"], rows.resample),
    **_each(["grid_sample", "affine_grid"], rows.of_kind(ops.Resample)),
    **_named(_REARRANGE, ops.Rearrange),
    **_each(_SAME.split(), rows.same),
    **_named(_SCALE, ops.Scale),
    **_named(_DISCRETE, ops.Discrete),
    **_each(["cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"], rows.fixed(ops.Concat())),
    **_each(["add", "sub", "subtract", "sum_of"], rows.fixed(ops.Add())),
    **_each(["mul", "multiply", "div", "divide", "true_divide", "truediv"], rows.fixed(ops.Multiply())),
    **_each(
        [
            "matmul",
            "mm",
            "bmm",
            "mv",
            "dot",
            "inner",
            "outer",
            "einsum",
            "tensordot",
            "chain_matmul",
            "multi_dot",
            "kron",
            "ger",
            "vdot",
            "addmm",
            "addbmm",
            "baddbmm",
            "addmv",
            "spmm",
            "sparse_mm",
            "linalg_multi_dot",
            "linalg_matmul",
        ],
        rows.fixed(ops.MatMul()),
    ),
    **_each(_CONSTANTS.split(), rows.constant(random=False)),
    **_each(_RANDOM.split(), rows.constant(random=True)),
    "input": rows.fixed(ops.Input()),
    "output": rows.fixed(ops.Output()),
    "parameter": rows.constant(random=False),
}
"""torch's functions and Tensor's methods by plain name."""

_BY_CLASS: Mapping[type[nn.Module], str] = {getattr(nn, name): name for name in MODULES if hasattr(nn, name)}


def module_row(module: nn.Module) -> tuple[str, Row] | None:
    """What the catalogue knows ``module`` by, with its row; None if one has to look into its forward.

    A class keeps its base's row as long as it keeps the base's forward, and the instance has no forward of its own.
    """
    if "forward" in vars(module):
        return None
    forward = type(module).forward
    for cls in type(module).__mro__:
        if getattr(cls, "forward", None) is not forward:
            return None
        if cls in _BY_CLASS:
            return _BY_CLASS[cls], MODULES[_BY_CLASS[cls]]
        attribute, row = LIBRARY_MODULES.get(cls.__name__, ("", None))
        if row is not None and hasattr(module, attribute):
            return cls.__name__, row
    return None


def function_row(name: str) -> Row | None:
    """The row of the function with that plain name."""
    return FUNCTIONS.get(name)
