"""What the operations that are not pointwise do to a state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from dropcheck.ops import Granularity
from dropcheck.shift.chain import Unit
from dropcheck.shift.closed_forms import max_pool_noise
from dropcheck.shift.priors import channel_amplification, mixed_amplification, pooled_variance, signal_amplification
from dropcheck.shift.state import TINY, Part, State

# Sources below this part of a unit's variance are no longer told apart (their noise stays), except the largest few:
# what is alive at any place stays few however deep the network.
_NEGLIGIBLE = 0.005
_ALWAYS_NAMED = 8
_LARGE = 1e12


def weighted(state: State, fan_in: int | None, positions: int = 1) -> State:
    """Behind a weight layer: mean 0, variance 1 by convention, and noise averaged as far as its inputs differ.

    Element noise is summed as independent, channel noise as one value per kernel, sample noise like the signal.
    Source: Li et al. 2019, Eq. 10; Kim et al. 2023, supplement, Eq. 9 and 12.
    """
    if not state.noisy:
        return State()
    state = state.settled()
    mean, var = state.unit.mean, max(state.unit.var, TINY)
    summed = signal_amplification(fan_in, positions)
    kernel = channel_amplification(mean, var, max(positions, state.span))
    mixed = mixed_amplification(fan_in, positions)
    whole = summed * var / (mean**2 + var)
    # By what one draw decides about: the factor of noise that no weight layer has mixed, and of other.
    factors = {
        Granularity.ELEMENT: (1.0, mixed),
        Granularity.CHANNEL: (kernel, kernel * mixed),
        Granularity.SAMPLE: (whole, whole),
        Granularity.BLOCK: (whole, whole),
    }

    def behind(_: str, part: Part) -> Part:
        noise = factors[part.granularity][part.mixed]
        return Part(part.noise * noise / (var * summed), part.excess / var, part.granularity, True)

    unit = Unit(0.0, 1.0, 0.0, state.unit.signal / var, state.unit.noise)
    return _with_parts(State(unit, state.parts, unknown=state.unknown), behind)


def mean_pooled(state: State, window: int) -> State:
    """Behind averaging over a window: independent noise averages away, what all positions share stays.

    Source: Kim et al. 2023, supplement, Eq. 16 to 21.
    """
    state = state.settled()
    unit, left = state.unit, pooled_variance(window)
    second_moment = max(unit.second_moment, TINY)
    coherent = (unit.mean**2 + left * unit.var) / second_moment

    def behind(_: str, part: Part) -> Part:
        return part.scaled(1.0 / window if part.granularity is Granularity.ELEMENT else coherent, left)

    pooled = replace(unit, var=unit.var * left, signal=unit.signal * left)
    return _with_parts(replace(state, unit=pooled), behind)


def max_pooled(state: State, window: float) -> State:
    """Behind the maximum over a window whose positions share one signal: what is kept wins, so the signal grows.

    Element noise that no weight layer has mixed is drawn per position; any other is as smooth as the signal.
    """
    older = state.parts.keys()
    state = state.settled(window)
    unit = state.unit

    def behind(part: Part) -> Part:
        grown = 1.0 + part.excess / max(unit.var, TINY)
        second_moment = max(unit.second_moment * grown, TINY)
        gain, power = max_pool_noise(second_moment / (second_moment + part.noise), window)
        noise, excess = second_moment * max(0.0, power - gain**2), unit.var * (grown * gain**2 - 1.0)
        return replace(part, noise=noise, excess=excess)

    fresh = {
        name: behind(part)
        for name, part in state.parts.items()
        if name in older and part.granularity is Granularity.ELEMENT and not part.mixed
    }
    grown = math.fsum(part.excess - state.parts[name].excess for name, part in fresh.items())
    grown_unit = replace(unit, signal=unit.signal + grown)
    return _with_parts(replace(state, unit=grown_unit), lambda name, part: fresh.get(name, part))


def normalised(state: State) -> State:
    """Behind a norm that uses frozen statistics: shifted and scaled, the shift travels on."""
    state = state.settled()
    unit, scale = state.unit, 1.0 / max(state.unit.var, TINY)
    train_mean = (unit.train_mean - unit.mean) * math.sqrt(scale)
    return replace(
        state,
        unit=Unit(0.0, 1.0, train_mean, unit.signal * scale, unit.noise * scale),
        parts={name: part.scaled(scale, scale) for name, part in state.parts.items()},
    )


def with_noise(state: State, name: str, part: Part) -> State:
    """With the noise of one more dropout in the units."""
    unit = replace(state.unit, signal=max(0.0, state.unit.signal + part.excess), noise=state.unit.noise + part.noise)
    return replace(state, unit=unit, parts={**state.parts, name: part})


def added(states: Sequence[State]) -> State:
    """The sum of activations that vary independently: means, variances and noises add."""
    if len(states) == 1:
        return states[0]
    states = [state.settled() for state in states]
    unit = Unit(*(math.fsum(values) for values in zip(*(_fields(state.unit) for state in states), strict=True)))
    return _merged(states, [1.0] * len(states), unit)


def averaged(states: Sequence[State], sizes: Sequence[float]) -> State:
    """The typical unit of activations side by side, each with its number of units."""
    if all(state is states[0] for state in states):
        return states[0]
    states = [state.settled() for state in states]
    shares = [size / math.fsum(sizes) for size in sizes]
    unit = Unit(
        *(
            math.fsum(share * value for share, value in zip(shares, values, strict=True))
            for values in zip(*(_fields(state.unit) for state in states), strict=True)
        )
    )
    return _merged(states, shares, unit)


def multiplied(left: State, right: State) -> State:
    """The product of two activations that vary independently: a gate scales by its mean, and its noise is felt.

    The variance of a product is the product of the mean squares minus the square of the product of the means.
    """
    left, right = left.settled(), right.settled()
    one, other = left.unit, right.unit
    mean, train_mean = one.mean * other.mean, one.train_mean * other.train_mean
    expected = (one.train_mean**2 + one.signal) * (other.train_mean**2 + other.signal)
    squared = (one.train_mean**2 + one.signal + one.noise) * (other.train_mean**2 + other.signal + other.noise)
    unit = Unit(
        mean,
        max(0.0, one.second_moment * other.second_moment - mean**2),
        train_mean,
        max(0.0, expected - train_mean**2),
        squared - expected,
    )
    return _merged([left, right], [other.second_moment, one.second_moment], unit)


def obscured(states: Sequence[State], name: str) -> State:
    """Behind an operation nobody can see into: if any noise went in, nothing is known of what comes out."""
    unknown = _names(state.unknown for state in states)
    return State(unknown=(*unknown, name) if any(state.noisy for state in states) else ())


def _merged(states: Sequence[State], scales: Sequence[float], unit: Unit) -> State:
    """``unit`` with the parts of all the states, each scaled, small ones dropped from the list."""
    parts: dict[str, Part] = {}
    for state, scale in zip(states, scales, strict=True):
        for name, part in state.parts.items():
            scaled = part.scaled(scale, scale)
            parts[name] = parts[name].joined(scaled) if name in parts else scaled
    unknown = _names(state.unknown for state in states)
    return _tamed(State(unit, _named(parts, unit), unknown=unknown, span=max(state.span for state in states)))


def _named(parts: dict[str, Part], unit: Unit) -> dict[str, Part]:
    if len(parts) <= _ALWAYS_NAMED:
        return parts
    least = _NEGLIGIBLE * (unit.signal + unit.noise)
    largest = sorted(parts, key=lambda name: parts[name].size, reverse=True)[:_ALWAYS_NAMED]
    return {name: part for name, part in parts.items() if part.size >= least or name in largest}


def _tamed(state: State) -> State:
    """The same ratios on the scale of 1, where repeated products have left all bounds."""
    power = state.unit.second_moment
    if 1.0 / _LARGE < power < _LARGE or power == 0.0:
        return state
    scale = 1.0 / power
    unit = state.unit
    root = math.sqrt(scale)
    return replace(
        state,
        unit=Unit(unit.mean * root, unit.var * scale, unit.train_mean * root, unit.signal * scale, unit.noise * scale),
        parts={name: part.scaled(scale, scale) for name, part in state.parts.items()},
    )


def _with_parts(state: State, behind: Callable[[str, Part], Part]) -> State:
    """The parts as they are behind an operation, and the noise of all of them changed in proportion."""
    parts = {name: behind(name, part) for name, part in state.parts.items()}
    before = math.fsum(part.noise for part in state.parts.values())
    after = math.fsum(part.noise for part in parts.values())
    noise = state.unit.noise * after / before if before > 0.0 else 0.0
    return replace(state, unit=replace(state.unit, noise=noise), parts=parts)


def _names(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _fields(unit: Unit) -> tuple[float, ...]:
    return unit.mean, unit.var, unit.train_mean, unit.signal, unit.noise
