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
from dropcheck.capture.calls import Call
from dropcheck.capture.rows import dropouts, norms, plain, pools, weights
from dropcheck.capture.rows.reading import Row
from dropcheck.ops import Granularity, Op, Reduce


def _each(names: Iterable[str], row: Row) -> dict[str, Row]:
    return dict.fromkeys(names, row)


def _named(
    names: str, kind: type[ops.Softmax | ops.Rearrange | ops.Statistic | ops.Discrete | ops.Scale]
) -> dict[str, Row]:
    return _each(names.split(), plain.of_kind(kind))


_DIMS = ("1d", "2d", "3d")
_ACTIVATION_LAYERS = """
    ReLU ReLU6 GELU SiLU Tanh Sigmoid ELU SELU CELU LeakyReLU PReLU RReLU Mish Hardswish Hardsigmoid Hardtanh
    Softplus Softsign LogSigmoid Tanhshrink Softshrink Hardshrink Threshold GLU
"""
_ACTIVATION_KINDS = {"LeakyReLU": "leaky_relu", "LogSigmoid": "logsigmoid"}

MODULES: Mapping[str, Row] = {
    **_each([f"Conv{d}" for d in _DIMS] + [f"ConvTranspose{d}" for d in _DIMS], weights.convolution),
    "Linear": weights.linear,
    "Bilinear": weights.bilinear,
    **_each(["Embedding", "EmbeddingBag"], weights.embedding),
    **_each(["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"], weights.recurrent),
    "MultiheadAttention": dropouts.attention,
    **_each([*(f"BatchNorm{d}" for d in _DIMS), "SyncBatchNorm"], norms.batch_norm),
    **_each([f"InstanceNorm{d}" for d in _DIMS], norms.instance_norm),
    **_each(["LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm", "CrossMapLRN2d"], norms.local_norm),
    "Dropout": dropouts.dropout(Granularity.ELEMENT),
    **_each([f"Dropout{d}" for d in _DIMS], dropouts.dropout(Granularity.CHANNEL)),
    "AlphaDropout": dropouts.dropout(Granularity.ELEMENT, alpha=True),
    "FeatureAlphaDropout": dropouts.dropout(Granularity.CHANNEL, alpha=True),
    **{name: plain.activation(_ACTIVATION_KINDS.get(name, name.lower())) for name in _ACTIVATION_LAYERS.split()},
    **_named("Softmax Softmax2d LogSoftmax Softmin", ops.Softmax),
    **_each([f"{kind}MaxPool{d}" for kind in ("", "Adaptive") for d in _DIMS], pools.pool(Reduce.MAX)),
    **_each(["FractionalMaxPool2d", "FractionalMaxPool3d"], pools.pool(Reduce.MAX)),
    **_each([f"{kind}AvgPool{d}" for kind in ("", "Adaptive") for d in _DIMS], pools.pool(Reduce.MEAN)),
    **_each([f"LPPool{d}" for d in _DIMS], pools.pool(Reduce.MEAN)),
    **_each(["Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"], plain.resample),
    **_named(
        "Flatten Unflatten PixelShuffle PixelUnshuffle ChannelShuffle Fold Unfold "
        + " ".join(
            f"{kind}Pad{d}" for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular") for d in _DIMS
        ),
        ops.Rearrange,
    ),
    "Identity": plain.same,
}
"""Layers of torch.nn by class name."""

_RATES = ("drop_prob", "drop_rate", "p", "prob", "rate")

LIBRARY_MODULES: Mapping[str, tuple[tuple[str, ...], Row]] = {
    "DropPath": (_RATES, dropouts.foreign_dropout(Granularity.SAMPLE, _RATES)),
    "StochasticDepth": (_RATES, dropouts.foreign_dropout(Granularity.SAMPLE, _RATES)),
    "DropBlock2d": (_RATES, dropouts.foreign_dropout(Granularity.BLOCK, _RATES)),
    "DropBlock2D": (_RATES, dropouts.foreign_dropout(Granularity.BLOCK, _RATES)),
    "FrozenBatchNorm2d": (("running_var",), norms.frozen_batch_norm),
}
"""Layers that many libraries define, known by class name if they have one of the attributes named beside the row."""

_REARRANGE = """
    H T _pack_padded_sequence _pad_packed_sequence _values adjoint as_strided atleast_1d atleast_2d atleast_3d
    block_diag broadcast_tensors broadcast_to cartesian_prod channel_shuffle chunk coalesce col2im column_stack
    combinations complex constant_pad_nd copy diag diag_embed diagflat diagonal diagonal_scatter dsplit expand
    expand_as fill fill_diagonal flatten flip fliplr flipud fold gather getitem hsplit im2col imag index
    index_copy index_fill index_put index_select kthvalue mH mT masked_fill masked_scatter masked_select
    max_unpool1d max_unpool2d max_unpool3d meshgrid mode moveaxis movedim nan_to_num narrow narrow_copy one_hot
    pad permute pixel_shuffle pixel_unshuffle polar put ravel real repeat repeat_interleave reshape reshape_as
    resize roll rot90 scatter select select_copy select_scatter setitem slice_scatter sort
    sparse_compressed_tensor sparse_coo_tensor sparse_csc_tensor sparse_csr_tensor sparse_mask split
    split_with_sizes squeeze swapaxes swapdims t take take_along_dim tensor_split tile to_sparse to_sparse_coo
    to_sparse_csc to_sparse_csr topk transpose tril triu type_as unbind unflatten unfold unsafe_chunk
    unsafe_split unsqueeze values view view_as view_as_complex view_as_real vsplit where zero
"""
_SAME = """
    as_subclass bfloat16 clone conj conj_physical contiguous cpu cuda data detach double float half pin_memory
    positive requires_grad resolve_conj resolve_neg share_memory to to_dense type
"""
_SCALE = "neg negative rsub dequantize fake_quantize_per_tensor_affine"
_ACTIVATIONS = """
    abs absolute acos acosh angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2
    atanh celu copysign cos cosh deg2rad digamma elu entr erf erfc erfcx erfinv exp exp2 expit expm1 float_power
    frac gammaln gelu glu hardshrink hardsigmoid hardswish hardtanh hypot i0 i0e ldexp lgamma log log10 log1p
    log2 log_ndtr log_sigmoid logit logsigmoid mish ndtr ndtri nextafter polygamma pow prelu psi rad2deg
    reciprocal relu relu6 rrelu rsqrt selu sgn sigmoid sign silu sin sinc sinh softplus softshrink softsign sqrt
    square tan tanh tanhshrink threshold xlog1py xlogy
"""
_STATISTICS = """
    amin aminmax binary_cross_entropy binary_cross_entropy_with_logits cdist cholesky cholesky_solve corrcoef
    cosine_embedding_loss cosine_similarity cov cross cross_entropy ctc_loss cummax cummin cumprod cumsum det
    diff dist eig eigh eigvals eigvalsh fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft fft_ifft fft_ifft2
    fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn
    frobenius_norm gaussian_nll_loss hinge_embedding_loss histc huber_loss index_add index_reduce inverse istft
    kl_div l1_loss logaddexp logaddexp2 logcumsumexp logdet logsumexp lu_solve margin_ranking_loss matrix_exp
    matrix_norm matrix_power mean median min mse_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss nanmean nanmedian nanquantile nansum nll_loss norm norm_except_dim nuclear_norm
    pairwise_distance pdist pinv pinverse poisson_nll_loss prod qr quantile renorm scatter_add scatter_reduce
    segment_reduce slogdet smooth_l1_loss soft_margin_loss solve solve_triangular std std_mean stft sum
    sum_to_size svd svdvals trace trapezoid trapz triplet_margin_loss triplet_margin_with_distance_loss var
    var_mean vector_norm
"""
_DISCRETE = """
    _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _indices all allclose and any argmax
    argmin argsort argwhere bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
    bitwise_xor bool bucketize byte ccol_indices ceil char col_indices count_nonzero crow_indices eq equal floor
    floor_divide fmod gcd ge greater greater_equal gt heaviside histogram histogramdd indices int invert isclose
    isfinite isin isinf isnan isneginf isposinf isreal lcm le less less_equal logical_and logical_not logical_or
    logical_xor long lshift lt ne nonzero nonzero_static not_equal or remainder round row_indices rshift
    searchsorted short signbit trunc unique unique_consecutive xor
"""
_CONSTANTS = """
    arange as_tensor asarray empty empty_like empty_strided eye from_numpy full full_like hamming_window
    hann_window linspace logspace new_empty new_full new_ones new_tensor new_zeros ones ones_like range
    scalar_tensor tensor tril_indices triu_indices zeros zeros_like
"""
_RANDOM = """
    bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand rand_like randint
    randint_like randn randn_like random randperm uniform
"""
_MATRIX_PRODUCTS = """
    addbmm addmm addmv baddbmm bmm chain_matmul dot einsum ger inner kron matmul mm multi_dot mv outer tensordot
    vdot vecdot
"""

FUNCTIONS: Mapping[str, Row] = {
    **_each(
        ["conv1d", "conv2d", "conv3d", "_convolution", "convolution"], weights.functional_convolution(transposed=False)
    ),
    **_each([f"conv_transpose{d}" for d in _DIMS], weights.functional_convolution(transposed=True)),
    "linear": weights.functional_linear,
    "bilinear": weights.functional_linear,
    **_each(
        ["lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"],
        weights.functional_recurrent,
    ),
    **_each(["embedding", "embedding_bag"], plain.of_kind(ops.Lookup)),
    **_each(["scaled_dot_product_attention", "multi_head_attention_forward"], dropouts.attention),
    **_each(["batch_norm", "native_batch_norm"], norms.functional_batch_norm),
    "instance_norm": norms.functional_instance_norm,
    **_each(
        ["layer_norm", "group_norm", "rms_norm", "local_response_norm", "native_layer_norm", "native_group_norm"],
        norms.local_norm,
    ),
    **_each(["dropout", "native_dropout"], dropouts.dropout(Granularity.ELEMENT)),
    **_each(["dropout1d", "dropout2d", "dropout3d", "feature_dropout"], dropouts.dropout(Granularity.CHANNEL)),
    "alpha_dropout": dropouts.dropout(Granularity.ELEMENT, alpha=True),
    "feature_alpha_dropout": dropouts.dropout(Granularity.CHANNEL, alpha=True),
    **{name: plain.activation(name) for name in _ACTIVATIONS.split()},
    "leaky_relu": plain.activation("leaky_relu"),
    "rdiv": plain.activation("reciprocal"),
    **_each(["clamp", "clip", "clamp_min"], plain.clamp),
    **_each(["clamp_max", "maximum", "minimum", "fmax", "fmin"], plain.maximum),
    **_named("softmax log_softmax softmin gumbel_softmax normalize", ops.Softmax),
    **_each(
        [f"{a}max_pool{d}{w}" for a in ("", "adaptive_") for d in _DIMS for w in ("", "_with_indices")],
        pools.pool(Reduce.MAX),
    ),
    **_each(["fractional_max_pool2d", "fractional_max_pool3d"], pools.pool(Reduce.MAX)),
    **_each([f"{a}avg_pool{d}" for a in ("", "adaptive_") for d in _DIMS], pools.pool(Reduce.MEAN)),
    **_each(["lp_pool1d", "lp_pool2d", "lp_pool3d"], pools.pool(Reduce.MEAN)),
    **_named(_STATISTICS, ops.Statistic),
    **_each(["mean", "sum", "nanmean"], pools.reduction(Reduce.MEAN)),
    **_each(["max", "min"], pools.extremum),
    "amax": pools.reduction(Reduce.MAX),
    **_each(["interpolate", "upsample", "upsample_nearest", "upsample_bilinear"], plain.resample),
    **_each(["grid_sample", "grid_sampler", "affine_grid", "affine_grid_generator"], plain.of_kind(ops.Resample)),
    **_named(_REARRANGE, ops.Rearrange),
    **_each(_SAME.split(), plain.same),
    **_named(_SCALE, ops.Scale),
    **_named(_DISCRETE, ops.Discrete),
    **_each(
        ["cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "row_stack"], plain.fixed(ops.Concat())
    ),
    **_each(["add", "sub", "subtract", "addcmul", "addcdiv", "lerp"], plain.fixed(ops.Add())),
    **_each(["mul", "multiply", "div", "divide", "true_divide", "truediv"], plain.fixed(ops.Multiply())),
    **_each(_MATRIX_PRODUCTS.split(), plain.fixed(ops.MatMul())),
    **_each(_CONSTANTS.split(), plain.constant(random=False)),
    **_each(_RANDOM.split(), plain.constant(random=True)),
    "bernoulli": plain.bernoulli,
    "input": plain.fixed(ops.Input()),
    "output": plain.fixed(ops.Output()),
    "parameter": plain.constant(random=False),
}
"""torch's functions and Tensor's methods by plain name."""

DRAWING = frozenset(
    {
        *_RANDOM.split(),
        *(name for name in FUNCTIONS if "dropout" in name),
        *("scaled_dot_product_attention", "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu"),
    }
)
"""The functions that may draw random numbers."""

_BY_CLASS: Mapping[type[nn.Module], str] = {getattr(nn, name): name for name in MODULES if hasattr(nn, name)}


def module_row(module: nn.Module) -> tuple[str, Row] | None:
    """What the catalogue knows ``module`` by, with its row; None if one has to look into its forward.

    A class keeps its base's row as long as it keeps the base's forward, and the instance has no forward of its own.
    """
    forward = getattr(type(module), "forward", None)
    if forward is None or "forward" in vars(module):  # a scripted class has none to show
        return None
    kind = getattr(module, "cls_to_become", None) or type(module)  # a lazy layer is what it becomes
    for cls in kind.__mro__:
        if getattr(cls, "forward", forward) is not forward:
            return None
        if cls in _BY_CLASS:
            return _BY_CLASS[cls], MODULES[_BY_CLASS[cls]]
        attributes, row = LIBRARY_MODULES.get(cls.__name__, ((), None))
        if row is not None and any(hasattr(module, attribute) for attribute in attributes):
            return cls.__name__, row
    return None


def function_row(name: str) -> Row | None:
    """The row of the function with that plain name."""
    return FUNCTIONS.get(name)


def operation(call: Call) -> Op | None:
    """What a call does; None if its result is its first argument under another name."""
    if call.module is not None:
        known = module_row(call.module)
        row = None if known is None else known[1]
    else:
        row = function_row(call.target)
    return ops.Opaque(call.kind) if row is None else row(call)
