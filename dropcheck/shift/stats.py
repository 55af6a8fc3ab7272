"""How far the weights of a network's layers agree in sign: the numbers of Li et al. 2019, Table 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """One weight layer, its filters flattened to d weights each.

    Attributes:
        name: module path, for a layer with several weights that of the parameter.
        kind: class of the layer (``Conv2d``).
        fan_in: d, the number of weights of one filter: in_channels / groups × kernel area.
        filters: output channels.
        cos2_theta: cos²θ = (Σw)² / (d Σw²) in [0, 1], the mean over filters; those of nothing but zeros have none. None
            where no filter has one, or weights are not finite.
        convolution: whether it is a convolution: what Li et al. average over.
    """

    name: str
    kind: str
    fan_in: int
    filters: int
    cos2_theta: float | None
    convolution: bool = False

    @property
    def d_cos2_theta(self) -> float | None:
        """d·cos²θ, the mean over filters: 1 for random weights, d if all agree."""
        return None if self.cos2_theta is None else self.fan_in * self.cos2_theta


@dataclass(frozen=True, slots=True)
class MeanStatistics:
    """Means over layers, each layer counting the same (Li et al. 2019, Table 1)."""

    layers: int
    cos2_theta: float
    d_cos2_theta: float


def mean_statistics(layers: Iterable[LayerStatistics]) -> MeanStatistics | None:
    """None if no layer has a cos²θ."""
    known = [(one.cos2_theta, one.fan_in) for one in layers]
    pairs = [(cos2_theta, cos2_theta * fan_in) for cos2_theta, fan_in in known if cos2_theta is not None]
    if not pairs:
        return None
    cos2_theta, d_cos2_theta = (fsum(column) / len(pairs) for column in zip(*pairs, strict=True))
    return MeanStatistics(len(pairs), cos2_theta, d_cos2_theta)
