"""The running statistics of a model's norms, and which of them say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dropcheck.capture.replica import every_path
from dropcheck.graph import Graph
from dropcheck.shift import Shifts

_VANISHING = 1e-12
"""A running variance up to this counts as zero: a channel that was dead while the model was trained."""

_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Statistics:
    """The running statistics of one norm, each ``(channels,)``."""

    module: nn.Module
    mean: Tensor
    var: Tensor

    @property
    def untrained(self) -> bool:
        """Whether they are what a new norm starts with."""
        return bool((self.mean == 0.0).all() and (self.var == 1.0).all())

    @property
    def seasoned(self) -> bool:
        """Whether more of them comes from data than from the values a new norm starts with."""
        momentum = getattr(self.module, "momentum", None)
        batches = getattr(self.module, "num_batches_tracked", None)
        if not isinstance(batches, Tensor) or int(batches) == 0 or momentum is None:
            return not self.untrained
        return float((1.0 - momentum) ** int(batches)) < 0.5

    @property
    def broken(self) -> Tensor:
        """Channels whose statistics are no numbers a run can have left, ``(channels,)``."""
        return ~(self.mean.isfinite() & self.var.isfinite() & (self.var >= 0.0))

    @property
    def dead(self) -> Tensor:
        """Channels that never varied, ``(channels,)``."""
        return ~self.broken & (self.var <= _VANISHING)

    @property
    def usable(self) -> Tensor:
        """Channels a shift can be predicted for, ``(channels,)``."""
        return ~(self.broken | self.dead)


def statistics(model: nn.Module, graph: Graph) -> dict[str, Statistics]:
    """The running statistics of the norms that remember, by node name, as far as a module holds them."""
    modules = dict(every_path(model))
    found = {}
    for node in graph:
        module = modules.get(node.path.partition("/")[0]) if node.remembers else None
        mean, var = _values(module, "running_mean"), _values(module, "running_var")
        if module is not None and mean is not None and var is not None:
            found[node.name] = Statistics(module, mean, var)
    return found


def from_training(known: Mapping[str, Statistics]) -> bool:
    """Whether most norms have seen data; of those that a constructor tried out on a made-up batch some may, too."""
    seasoned = sum(one.seasoned for one in known.values())
    return 2 * seasoned > len(known)


def _values(module: nn.Module | None, name: str) -> Tensor | None:
    buffer = getattr(module, name, None)
    if not isinstance(buffer, Tensor) or is_lazy(buffer) or buffer.is_meta:
        return None
    return buffer.detach().float().cpu()


def left_out(
    model: nn.Module, graph: Graph, known: Mapping[str, Statistics], left: Shifts, predicted: Shifts
) -> str | None:
    """Names what ``left``, the shifts that are told, leave out of those predicted; None if that is nothing."""
    judged = {name: one for name, one in known.items() if not one.untrained}
    pairs = [(name, shift.delta, left.norms[name].delta) for name, shift in predicted.norms.items()]
    lost = [name for name, before, after in pairs if before is not None and after is None]
    unexplained = [name for name in lost if name not in known or (name in judged and judged[name].usable.any())]
    weights = model.named_parameters() if unexplained else ()
    parts = {
        "untrained statistics": [_path(graph, name) for name in known if name not in judged],
        "NaN or infinite statistics": _channels(graph, {name: one.broken for name, one in judged.items()}),
        "zero variance": _channels(graph, {name: one.dead for name, one in judged.items()}),
        "no finite prediction": [_path(graph, name) for name in unexplained],
        "NaN or infinite weights": [repr(key) for key, tensor in weights if not tensor.isfinite().all()],
    }
    told = [f"{what} in {listed(names)}" for what, names in parts.items() if names]
    return f"left out: {'; '.join(told)}" if told else None


def _path(graph: Graph, name: str) -> str:
    return repr(graph[name].path)


def _channels(graph: Graph, masks: Mapping[str, Tensor]) -> list[str]:
    """``2 of 64 channels of 'bn1'`` for each norm that has any."""
    counts = {name: (int(mask.sum()), len(mask)) for name, mask in masks.items()}
    return [f"{some} of {every} channels of {_path(graph, name)}" for name, (some, every) in counts.items() if some]


def listed(names: Sequence[str]) -> str:
    """The names, or the first few and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
