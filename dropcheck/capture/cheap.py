"""Makes a run cost little: capture wants to know which operations meet which shapes, not what they compute.

For the length of a run, convolutions and linear layers compute one of their output channels from one of their input
channels and repeat it, and dropouts copy: to draw a mask takes several times as long. The shapes are torch's own, wrong
inputs still raise torch's own errors, and the weights are hardly touched, so those of a model that was only allocated
cost no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

Forward = Callable[..., Tensor]

_CONVOLUTIONS: dict[tuple[bool, int], Forward] = {
    **{(False, axes): function for axes, function in enumerate((F.conv1d, F.conv2d, F.conv3d), start=1)},
    **{
        (True, axes): function
        for axes, function in enumerate((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), start=1)
    },
}


@contextmanager
def runs_cheaply(model: nn.Module, *, drawing: bool = False) -> Iterator[None]:
    """While open, ``model`` runs with cheap stand-ins for the forwards of its expensive layers.

    ``drawing``: dropouts draw their masks all the same.
    """
    replaced = []
    for module in model.modules():
        stand_in = None if "forward" in vars(module) else _stand_in(module, drawing)
        if stand_in is not None:
            module.forward = stand_in
            replaced.append(module)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def undropped(input: Any, p: Any = 0.5, training: Any = True, inplace: Any = False) -> Tensor:
    """What ``F.dropout`` gives, but for its mask."""
    if isinstance(input, Tensor) and input.is_floating_point() and training and not inplace and 0.0 <= p <= 1.0:
        return input.clone()
    return F.dropout(input, p, training, inplace)


def _stand_in(module: nn.Module, drawing: bool) -> Forward | None:
    if isinstance(module, nn.SyncBatchNorm):
        # It refuses to run on a CPU; in one process it is plain batch norm.
        return MethodType(_BatchNorm.forward, module)
    if isinstance(module, _ConvNd) and _is_torch_s(module):
        return _one_channel_convolution(module)
    if isinstance(module, nn.Linear) and _is_torch_s(module):
        return _one_channel_linear(module)
    if type(module) is nn.Dropout and module.training and not module.inplace and not drawing:
        return undropped
    return None


def _is_torch_s(module: nn.Module) -> bool:
    return type(module).forward.__module__.startswith("torch.nn.modules.")


def _one_channel_convolution(module: _ConvNd) -> Forward:
    exact: Forward = module.forward

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        axes = len(module.kernel_size)
        x = args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(x, Tensor) or x.ndim != axes + 2 or x.shape[1] != module.in_channels:
            return exact(*args, **kwargs)
        settings: dict[str, Any] = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
        if module.transposed:
            settings["output_padding"] = module.output_padding
        one = _CONVOLUTIONS[module.transposed, axes](x[:, :1], module.weight[:1, :1], None, **settings)
        return one.repeat(1, module.out_channels, *(1,) * axes)

    return forward


def _one_channel_linear(module: nn.Linear) -> Forward:
    exact = module.forward

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        x = args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[-1] != module.in_features:
            return exact(*args, **kwargs)
        one = F.linear(x[..., :1], module.weight[:1, :1])
        return one.repeat(*(1,) * (x.ndim - 1), module.out_features)

    return forward
