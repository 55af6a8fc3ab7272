"""What travels along an edge of the graph: a typical unit, and each dropout's part in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dropcheck.ops import Granularity
from dropcheck.shift.chain import Curve, Mask, Step, Unit, response, without_masks

TINY = 1e-12  # a variance to divide by where there is none
_MASKS_ENUMERATED = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One dropout's part in a unit, as if it were the only dropout.

    Attributes:
        noise: variance it adds around the signal.
        excess: what it adds to the variance of the signal itself; negative when it takes some away.
        granularity: what one draw decides about.
        mixed: whether a weight layer has summed it already.
    """

    noise: float
    excess: float
    granularity: Granularity = Granularity.ELEMENT
    mixed: bool = False

    @property
    def size(self) -> float:
        return self.noise + abs(self.excess)

    def scaled(self, noise: float, excess: float) -> Part:
        return Part(self.noise * noise, self.excess * excess, self.granularity, self.mixed)

    def joined(self, other: Part) -> Part:
        """The same dropout arriving twice, over ways independent enough for variances to add."""
        larger = max(self, other, key=lambda part: part.size)
        return replace(larger, noise=self.noise + other.noise, excess=self.excess + other.excess)


@dataclass(frozen=True, slots=True)
class State:
    """A typical unit, the elementwise steps it has still to go through, and who is to blame for its noise.

    Attributes:
        unit: before ``steps``.
        parts: by the name of the dropout, as of ``unit``.
        steps: elementwise work since, kept symbolic because Bernoulli noise is no Gaussian.
        dropouts: names of the masks among ``steps``, in order.
        unknown: opaque operations that noise has passed on its way here.
        span: positions of one channel that flattening has made neighbours in the feature vector.
    """

    unit: Unit = field(default_factory=Unit)
    parts: Mapping[str, Part] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    dropouts: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    span: int = 1

    @property
    def noisy(self) -> bool:
        """Whether any dropout can be felt here."""
        return bool(self.parts or self.dropouts or self.unknown) or not self.unit.is_clean

    def curved(self, curve: Curve) -> State:
        return State(self.unit, self.parts, (*self.steps, curve), self.dropouts, self.unknown, self.span)

    def dropped(self, name: str, mask: Mask) -> State:
        """Older masks than the last two are taken for Gaussian noise, or their states would multiply."""
        base = self if len(self.dropouts) < _MASKS_ENUMERATED else self.settled()
        return replace(base, steps=(*base.steps, mask), dropouts=(*base.dropouts, name))

    def settled(self, window: float = 1) -> State:
        """The state with its steps carried out, and a max-pool over ``window`` positions after them."""
        if not self.steps and window == 1:
            return self
        unit = response(self.unit, self.steps, window)
        parts = {**self._older_parts(), **self._mask_parts(window)}
        return State(unit, parts, unknown=self.unknown, span=self.span)

    def _older_parts(self) -> dict[str, Part]:
        """The parts that came before the steps, each with its share of what the curves make of all their noise."""
        if not self.parts or not self.steps:
            return dict(self.parts)
        unit = response(self.unit, without_masks(self.steps))
        noise = unit.noise / self.unit.noise if self.unit.noise > 0.0 else 0.0
        signal = unit.var / max(self.unit.var, TINY)
        parts = {name: part.scaled(noise, signal) for name, part in self.parts.items()}
        left = unit.signal - unit.var - math.fsum(part.excess for part in parts.values())
        total = math.fsum(part.size for part in parts.values())
        if total == 0.0:
            return parts
        return {name: replace(part, excess=part.excess + left * part.size / total) for name, part in parts.items()}

    def _mask_parts(self, window: float) -> dict[str, Part]:
        masks = [(place, step) for place, step in enumerate(self.steps) if isinstance(step, Mask)]
        parts = {}
        for name, (place, mask) in zip(self.dropouts, masks, strict=True):
            alone = (*without_masks(self.steps[:place]), mask, *without_masks(self.steps[place:]))
            unit = response(self.unit.clean, alone, window)
            parts[name] = Part(unit.noise, unit.signal - unit.var, mask.granularity)
        return parts
