"""What a model's first layer says about the shape of its input."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from dropcheck.source import InputSpec

# Batch norm needs more than one value per channel.
BATCH = 2
SEQUENCE = 16
_SIZES = (32, 64, 128, 224, 28, 96, 256, 299)
_SIZES_OF_ONE_PLANE = (28, 32, 64, 128, 224, 96, 256)
_LENGTHS = (64, 128, 256, 1024, 16, 512, 3000, 16000)
_VOLUMES = (16, 32, 64, 96)
_FLAT_IMAGES: Mapping[int, tuple[int, ...]] = {
    784: (1, 28, 28),
    1024: (1, 32, 32),
    3072: (3, 32, 32),
    12288: (3, 64, 64),
}

_SIZE_NAME = re.compile(
    r"(img|image|input|crop|spatial)?_?(size|res|resolution|shape)|n?_?(samples|times|timesteps|points)"
)
_LENGTH_NAME = re.compile(
    r"(max_)?(seq(uence)?_?)?len(gth)?|max_(positions?|seq_len)|block_size|context(_length|_size)?|n?_?(samples|times|timesteps|points)|window"
)


def first_shapes(model: nn.Module, hints: Mapping[str, Any], entry: nn.Module | None = None) -> Iterator[InputSpec]:
    """Shapes for an argument of forward, the likeliest first; those of the two first layers take turns.

    ``hints``: constructor arguments by name, some of which say how large the input is. ``entry``: the layer that the
    argument is known to meet first.
    """
    readers = []
    for module in (*([] if entry is None else [entry]), *model.modules()):
        shapes = list(_shapes_for(module, model, hints))
        if shapes and shapes not in readers:
            readers.append(shapes)
        if len(readers) == 2:
            break
    if not readers:
        readers = [[InputSpec((BATCH, 3, 32, 32)), InputSpec((BATCH, 16)), InputSpec((BATCH, 16, 64))]]
    first, second = readers[0], readers[1] if len(readers) > 1 else []
    yield from first[:6]
    yield from second[:6]
    yield from first[6:]
    yield from second[6:]


def shape_for(module: nn.Module, model: nn.Module, hints: Mapping[str, Any]) -> InputSpec | None:
    """The likeliest shape of what a layer is given."""
    return next(_shapes_for(module, model, hints), None)


def _shapes_for(module: nn.Module, model: nn.Module, hints: Mapping[str, Any]) -> Iterator[InputSpec]:
    """The shapes of input a layer could stand first for; none for a layer that says nothing."""
    match module:
        case nn.modules.conv._ConvNd():
            yield from _channels_first(module.in_channels, len(module.kernel_size), model, hints)
        case nn.Linear() | nn.Bilinear() if features := getattr(module, "in_features", 0) or 0:
            planes = any(isinstance(one, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) for one in model.children())
            yield from (InputSpec((BATCH, features, 8, 8)),) if planes and not _convolves(model) else ()
            yield from _features(features, hints)
        case nn.Embedding() | nn.EmbeddingBag():
            for length in _lengths((SEQUENCE,), hints):
                yield InputSpec((BATCH, length), "int64")
            yield InputSpec((BATCH,), "int64")
        case nn.RNNBase():
            for length in _lengths((SEQUENCE,), hints):
                yield InputSpec((BATCH, length, module.input_size))
        case nn.MultiheadAttention():
            for length in _lengths((SEQUENCE,), hints):
                yield InputSpec((BATCH, length, module.embed_dim))
        case nn.BatchNorm1d() | nn.InstanceNorm1d():
            yield InputSpec((BATCH, module.num_features))
            yield InputSpec((BATCH, module.num_features, SEQUENCE))
        case nn.BatchNorm2d() | nn.InstanceNorm2d():
            yield from _channels_first(module.num_features, 2, model, hints)
        case nn.BatchNorm3d() | nn.InstanceNorm3d():
            yield from _channels_first(module.num_features, 3, model, hints)
        case nn.LayerNorm():
            yield InputSpec((BATCH, SEQUENCE, *module.normalized_shape))
            yield InputSpec((BATCH, *module.normalized_shape))
        case _:
            yield from _for_own_weight(module, model, hints)


def _convolves(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())


def _for_own_weight(module: nn.Module, model: nn.Module, hints: Mapping[str, Any]) -> Iterator[InputSpec]:
    """For a module that holds the weight of a functional convolution or linear layer itself."""
    for name, parameter in module.named_parameters(recurse=False):
        if "weight" in name and not is_lazy(parameter) and 2 <= parameter.dim() <= 5:
            if parameter.dim() == 2:
                yield from _features(parameter.shape[1], hints)
            else:
                yield from _channels_first(parameter.shape[1], parameter.dim() - 2, model, hints)
            return


def _channels_first(channels: int, dimensions: int, model: nn.Module, hints: Mapping[str, Any]) -> Iterator[InputSpec]:
    channels = channels or 3  # lazy layers do not know yet
    if dimensions == 1:
        for length in _lengths(_LENGTHS, hints):
            yield InputSpec((BATCH, channels, length))
        yield InputSpec((BATCH, _LENGTHS[0], channels))
        return
    if dimensions == 3:
        for size in _VOLUMES:
            yield InputSpec((BATCH, channels, size, size, size))
        return
    rows = _rows(model)
    if rows is not None:
        for width in _lengths(_LENGTHS, hints):
            yield InputSpec((BATCH, channels, rows, width))
    sizes = [pair for name, value in hints.items() if _SIZE_NAME.fullmatch(name) and (pair := _pair(value))]
    usual = _SIZES_OF_ONE_PLANE if channels == 1 else _SIZES
    for height, width in (*sizes, *((size, size) for size in usual)):
        yield InputSpec((BATCH, channels, height, width))


def _features(features: int, hints: Mapping[str, Any]) -> Iterator[InputSpec]:
    yield InputSpec((BATCH, features))
    for length in _lengths((SEQUENCE,), hints):
        yield InputSpec((BATCH, length, features))
    if features in _FLAT_IMAGES:
        yield InputSpec((BATCH, *_FLAT_IMAGES[features]))
    yield InputSpec((BATCH, features, SEQUENCE))
    yield InputSpec((BATCH, SEQUENCE, SEQUENCE, features))


def _lengths(usual: Sequence[int], hints: Mapping[str, Any]) -> Iterator[int]:
    named = [value for name, value in hints.items() if _LENGTH_NAME.fullmatch(name) and type(value) is int]
    yield from dict.fromkeys([*(length for length in named if 1 < length <= 4096), *usual])


def _rows(model: nn.Module) -> int | None:
    """The height of a grid whose columns one kernel takes in whole: electrodes of an EEG, bands of a spectrogram."""
    kernels = (module.kernel_size for module in model.modules() if isinstance(module, nn.Conv2d))
    return max((height for height, width in kernels if width == 1 and height > 7), default=None)


def _pair(value: Any) -> tuple[int, int] | None:
    sizes = (value, value) if type(value) is int else value
    if isinstance(sizes, tuple | list) and all(type(size) is int and 1 < size <= 4096 for size in sizes):
        return (sizes[-2], sizes[-1]) if len(sizes) >= 2 else None
    return None
