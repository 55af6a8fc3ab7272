"""The catalogue's functions, by plain name: ``F.relu``, ``torch.relu_`` and ``Tensor.relu`` are all ``relu``.

A function that is missing here is opaque. Adding one means adding its name to a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from dropcheck import ops
from dropcheck.capture.rows import dropouts, norms, plain, pools, weights
from dropcheck.capture.rows.reading import DIMS, Row, each, named
from dropcheck.ops import Granularity, Reduce

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
    _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _indices _is_all_true _is_any_true all
    allclose and any argmax argmin argsort argwhere bincount bitwise_and bitwise_left_shift bitwise_not
    bitwise_or bitwise_right_shift bitwise_xor bool bucketize byte ccol_indices ceil char col_indices
    count_nonzero crow_indices eq equal floor floor_divide fmod gcd ge greater greater_equal gt heaviside
    histogram histogramdd indices int invert isclose isfinite isin isinf isnan isneginf isposinf isreal lcm le
    less less_equal logical_and logical_not logical_or logical_xor long lshift lt ne nonzero nonzero_static
    not_equal or remainder round row_indices rshift searchsorted short signbit trunc unique unique_consecutive
    xor
"""
_CONSTANTS = """
    arange as_tensor asarray empty empty_like empty_strided eye from_numpy full full_like hamming_window
    hann_window linspace logspace new new_empty new_full new_ones new_tensor new_zeros ones ones_like range
    scalar_tensor tensor tril_indices triu_indices zeros zeros_like
"""
_RANDOM = """
    _sample_dirichlet _standard_gamma bernoulli binomial cauchy exponential geometric log_normal multinomial
    normal poisson rand rand_like randint randint_like randn randn_like random randperm uniform
"""
_MATRIX_PRODUCTS = """
    _grouped_mm addbmm addmm addmv baddbmm bmm chain_matmul dot einsum ger inner kron matmul mm multi_dot mv outer
    tensordot vdot vecdot
"""

FUNCTIONS: Mapping[str, Row] = {
    **each(
        ["conv1d", "conv2d", "conv3d", "_convolution", "convolution"], weights.functional_convolution(transposed=False)
    ),
    **each([f"conv_transpose{d}" for d in DIMS], weights.functional_convolution(transposed=True)),
    "linear": weights.functional_linear,
    "bilinear": weights.functional_linear,
    **each(
        ["lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"],
        weights.functional_recurrent,
    ),
    **named("embedding embedding_bag", ops.Lookup),
    **each(["scaled_dot_product_attention", "multi_head_attention_forward"], dropouts.attention),
    **each(["batch_norm", "native_batch_norm"], norms.functional_batch_norm),
    "instance_norm": norms.functional_instance_norm,
    **each(
        ["layer_norm", "group_norm", "rms_norm", "local_response_norm", "native_layer_norm", "native_group_norm"],
        norms.local_norm,
    ),
    **each(["dropout", "native_dropout"], dropouts.dropout(Granularity.ELEMENT)),
    **each(["dropout1d", "dropout2d", "dropout3d", "feature_dropout"], dropouts.dropout(Granularity.CHANNEL)),
    "alpha_dropout": dropouts.dropout(Granularity.ELEMENT, alpha=True),
    "feature_alpha_dropout": dropouts.dropout(Granularity.CHANNEL, alpha=True),
    **{name: plain.activation(name) for name in _ACTIVATIONS.split()},
    "leaky_relu": plain.activation("leaky_relu"),
    "rdiv": plain.activation("reciprocal"),
    **each(["clamp", "clip", "clamp_min"], plain.clamp),
    **each(["clamp_max", "maximum", "minimum", "fmax", "fmin"], plain.maximum),
    **named("softmax log_softmax softmin gumbel_softmax normalize", ops.Softmax),
    **each(
        [f"{a}max_pool{d}{w}" for a in ("", "adaptive_") for d in DIMS for w in ("", "_with_indices")],
        pools.pool(Reduce.MAX),
    ),
    **each(["fractional_max_pool2d", "fractional_max_pool3d"], pools.pool(Reduce.MAX)),
    **each([f"{a}avg_pool{d}" for a in ("", "adaptive_") for d in DIMS], pools.pool(Reduce.MEAN)),
    **each(["lp_pool1d", "lp_pool2d", "lp_pool3d"], pools.pool(Reduce.MEAN)),
    **named(_STATISTICS, ops.Statistic),
    **each(["mean", "sum", "nanmean"], pools.reduction(Reduce.MEAN)),
    **each(["max", "min"], pools.extremum),
    "amax": pools.reduction(Reduce.MAX),
    **each(["interpolate", "upsample", "upsample_nearest", "upsample_bilinear"], plain.resample),
    **named("grid_sample grid_sampler affine_grid affine_grid_generator", ops.Resample),
    **named(_REARRANGE, ops.Rearrange),
    **each(_SAME.split(), plain.same),
    **named(_SCALE, ops.Scale),
    **named(_DISCRETE, ops.Discrete),
    **each(
        ["cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "row_stack", "pad_sequence"],
        plain.fixed(ops.Concat()),
    ),
    **each(["add", "sub", "subtract", "addcmul", "addcdiv", "lerp"], plain.fixed(ops.Add())),
    **each(["mul", "multiply", "div", "divide", "true_divide", "truediv"], plain.fixed(ops.Multiply())),
    **each(_MATRIX_PRODUCTS.split(), plain.fixed(ops.MatMul())),
    **each(_CONSTANTS.split(), plain.constant(random=False)),
    **each(_RANDOM.split(), plain.constant(random=True)),
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
