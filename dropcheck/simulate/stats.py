"""cos²θ of the weight layers of a live model."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils.weight_norm import WeightNorm

from dropcheck.graph import Graph, Node
from dropcheck.ops import Weight
from dropcheck.shift.stats import LayerStatistics

_IN_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@torch.no_grad()
def layer_statistics(model: nn.Module, graph: Graph | None = None) -> tuple[LayerStatistics, ...]:
    """Every layer that sums its inputs with learned weights, in the order of ``model.named_modules()``.

    These are convolutions of all kinds, linear and bilinear layers, the projections of attention, the matrices of
    recurrent layers, and behind them the parameters that functional layers of the graph use. Weights without values
    (of lazy layers that have never run, on the meta device) are left out.
    """
    layers: list[LayerStatistics] = []
    taken: set[int] = set()
    for path, module in model.named_modules():
        for name, weight in _weights(module):
            if _has_values(weight):
                taken.add(id(weight))
                named = path if name == "weight" else f"{path}.{name}".removeprefix(".")
                filters, kind = _filters(module, weight), type(module).__name__
                layers.append(_statistics(named, kind, filters, isinstance(module, _ConvNd)))
    for node in graph.of(Weight) if graph is not None else ():
        for name, weight in _functional_weights(model, node):
            if id(weight) not in taken:
                taken.add(id(weight))
                kind = node.op.kind if isinstance(node.op, Weight) else ""
                layers.append(_statistics(name, kind, weight.flatten(1), kind.startswith("conv")))
    return tuple(layers)


def unread(model: nn.Module, graph: Graph | None) -> tuple[str, ...]:
    """The weight layers of the graph that :func:`layer_statistics` knows nothing of, by path."""
    known = {path for path, module in model.named_modules() if any(_has_values(one) for _, one in _weights(module))}
    paths = (
        dict.fromkeys(node.path for node in graph.of(Weight) if not any(_functional_weights(model, node)))
        if graph
        else ()
    )
    return tuple(path for path in paths if path not in known)


def _statistics(name: str, kind: str, filters: Tensor, convolution: bool) -> LayerStatistics:
    """Of flattened ``filters``, ``(filters, d)``. Source: Li et al. 2019, Eq. 11."""
    filters = filters.float()
    count, fan_in = filters.shape
    norms = torch.linalg.vector_norm(filters, dim=1)
    alike = (filters.sum(1) / norms).square()[norms != 0.0] / fan_in
    mean = float(alike.clamp(max=1.0).mean())
    return LayerStatistics(name, kind, fan_in, count, mean if math.isfinite(mean) else None, convolution)


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The matrices and kernels with which a layer of torch's sums its inputs, by parameter name."""
    if isinstance(module, _ConvNd | nn.Linear | nn.Bilinear):
        yield "weight", _normalised(module)
    elif isinstance(module, nn.MultiheadAttention):
        held = ((name, getattr(module, name)) for name in _IN_PROJECTIONS)
        yield from ((name, weight) for name, weight in held if weight is not None)
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        yield from (held for held in module.named_parameters(recurse=False) if held[0].startswith("weight"))


def _normalised(module: nn.Module) -> Tensor:
    """The weight as a forward would use it: hooks such as weight_norm's set it anew ahead of each."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            computed: Tensor = hook.compute_weight(module)
            return computed
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight


def _filters(module: nn.Module, weight: Tensor) -> Tensor:
    """The filters of all output units, flattened: ``(filters, d)``."""
    if not (isinstance(module, _ConvNd) and module.transposed):
        return weight.flatten(1)
    # Stored as (inputs, outputs / groups, *kernel): inputs of a group belong to the outputs of the same group.
    inputs, outputs = len(weight) // module.groups, weight.shape[1]
    grouped = weight.reshape(module.groups, inputs, outputs, -1)
    return grouped.transpose(1, 2).reshape(module.groups * outputs, -1)


def _functional_weights(model: nn.Module, node: Node) -> Iterator[tuple[str, Tensor]]:
    """The parameters a functional layer may have used: those of its module (or below) that have its shape."""
    owner, functional, _ = node.path.rpartition("/")
    if not functional or not isinstance(node.op, Weight):
        return
    convolves = node.op.kind.startswith("conv")
    for name, weight in model.get_submodule(owner).named_parameters(owner):
        if not _has_values(weight) or not (weight.dim() > 2 if convolves else weight.dim() == 2):
            continue
        if (len(weight), weight[0].numel()) == (node.op.out_channels, node.op.fan_in):
            yield name, weight


def _has_values(weight: Tensor) -> bool:
    return not is_lazy(weight) and not weight.is_meta and weight.numel() > 0
