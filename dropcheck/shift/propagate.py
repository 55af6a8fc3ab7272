"""Predicts the variance shift at every norm of a graph from its code alone: one pass, forms and typical values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from typing import NamedTuple, assert_never

from dropcheck.graph import Graph, Node
from dropcheck.ops import (
    Activation,
    Add,
    Attention,
    BatchNorm,
    Concat,
    Constant,
    Discrete,
    Dropout,
    Input,
    LocalNorm,
    Lookup,
    MatMul,
    Multiply,
    Opaque,
    Output,
    Pool,
    Rearrange,
    Recurrent,
    Reduce,
    Resample,
    Scale,
    Softmax,
    Statistic,
    Weight,
)
from dropcheck.shift.chain import Curve, mask_of
from dropcheck.shift.closed_forms import bernoulli_noise
from dropcheck.shift.evidence import Evidence, NormShift, Shifts, Source
from dropcheck.shift.priors import GLOBAL_WINDOW, LOCAL_WINDOW, RESAMPLED, rival_positions, signal_amplification
from dropcheck.shift.state import Part, State
from dropcheck.shift.transfer import (
    added,
    averaged,
    max_pooled,
    mean_pooled,
    multiplied,
    normalised,
    obscured,
    weighted,
    with_noise,
)

# What works on one activation; of several that arrive, their typical unit is taken.
Along = (
    Dropout
    | BatchNorm
    | LocalNorm
    | Activation
    | Pool
    | Resample
    | Recurrent
    | Attention
    | Scale
    | Softmax
    | Statistic
    | Concat
    | Output
)

_FRESH = State()
_LARGEST_SHIFT = 1e6  # Δ is kept within 1e-6 … 1e6: a dropout of rate 1 leaves training no variance at all


def predict(graph: Graph) -> Shifts:
    """The shift of every norm that remembers, each reached only by the dropouts since the last norm before it.

    Evidence is ``prior``: weights are taken to be those of a typical trained network.
    """
    return Shifts(Evidence.PRIOR, dict(_followed(graph).norms))


def predict_changed(graph: Graph, changed: Sequence[Node]) -> Mapping[str, NormShift]:
    """The norms among ``changed``, by name, with what :func:`predict` would give for a graph of these nodes.

    They are the graph's, as many as are wanted of the first, some altered or moved: only what that has an effect on is
    followed anew.
    """
    known = _followed(graph)
    states: dict[str, State | None] = dict(known.states)
    norms: dict[str, NormShift] = {}
    stale: set[str] = set()
    for node in changed:
        name = node.name
        if node is graph[name] and stale.isdisjoint(node.inputs):
            if name in known.norms:
                norms[name] = known.norms[name]
            continue
        states[name] = _follow(graph, node, states, norms)
        if states[name] is not known.states[name]:
            stale.add(name)
    return norms


class _Followed(NamedTuple):
    """What leaves every node, None where it does not depend on the input: that has no variance, and passes no noise."""

    states: Mapping[str, State | None]
    norms: Mapping[str, NormShift]


@lru_cache(maxsize=1)
def _followed(graph: Graph) -> _Followed:
    states: dict[str, State | None] = {}
    norms: dict[str, NormShift] = {}
    for node in graph:
        states[node.name] = _follow(graph, node, states, norms)
    return _Followed(states, norms)


def _follow(graph: Graph, node: Node, states: Mapping[str, State | None], norms: dict[str, NormShift]) -> State | None:
    """What leaves a node, given the states of what it reads; the shift at a norm is put among ``norms``."""
    live = [(graph[name], state) for name in node.inputs if (state := states[name]) is not None]
    producers, arriving = tuple(producer for producer, _ in live), tuple(state for _, state in live)
    if node.remembers:
        norms[node.name] = _shift(node.name, _joint(producers, arriving) if live else _FRESH)
    return _behind(node, producers, arriving)


def _behind(node: Node, producers: tuple[Node, ...], arriving: tuple[State, ...]) -> State | None:
    """What an operation makes of the states that arrive (those of constants left out)."""
    op = node.op
    if isinstance(op, Input | Lookup):
        return _FRESH
    if isinstance(op, Opaque):
        return obscured(arriving, node.name)
    if isinstance(op, Dropout) and node.drops and not arriving:
        # Dropped parameters (DropConnect): with their noise they travel like activations.
        return _along(node, op, _FRESH)
    if isinstance(op, Constant | Discrete) or not arriving:
        return None
    if isinstance(op, Add):
        return added(arriving)
    if isinstance(op, Multiply):
        return reduce(multiplied, arriving)
    if isinstance(op, MatMul):
        return weighted(reduce(multiplied, arriving), fan_in=None)
    if isinstance(op, Weight):
        return weighted(reduce(multiplied, arriving), op.fan_in, op.positions)
    if isinstance(op, Rearrange):
        return _rearranged(node, producers[0], _joint(producers, arriving))
    return _along(node, op, _joint(producers, arriving))


def _joint(producers: tuple[Node, ...], arriving: tuple[State, ...]) -> State:
    """The typical unit of all that arrives, in proportion to the number of units as far as that is known."""
    if len(arriving) == 1:
        return arriving[0]
    shapes = [producer.shape for producer in producers]
    known = [math.prod(shape) for shape in shapes if shape is not None and 0 not in shape]
    return averaged(arriving, known if len(known) == len(shapes) else [1] * len(shapes))


def _along(node: Node, op: Along, state: State) -> State:
    match op:
        case Dropout():
            return state.dropped(node.name, mask_of(op)) if node.drops else state
        case BatchNorm() | LocalNorm():
            return _FRESH if node.remembers or node.blocks else normalised(state)
        case Activation():
            return state.curved(Curve(op.kind, op.slope))
        case Pool():
            typical = GLOBAL_WINDOW if op.is_global else LOCAL_WINDOW
            window = typical if op.window is None else op.window
            return max_pooled(state, rival_positions(window)) if op.reduce is Reduce.MAX else mean_pooled(state, window)
        case Resample():
            return mean_pooled(state, RESAMPLED)
        case Recurrent() | Attention():
            return _mixing(node, op, state)
        # Scales and offsets cancel in a ratio of variances; softmax and statistics are taken to keep it.
        case Scale() | Softmax() | Statistic() | Concat() | Output():
            return state
        case _:
            assert_never(op)


def _mixing(node: Node, op: Recurrent | Attention, state: State) -> State:
    """A layer that sums its inputs, and drops on its own what it sums: hidden units, attention weights."""
    mixed = weighted(state, op.fan_in)
    if op.drop_rate == 0.0 or not node.training:
        return mixed
    if op.drop_rate == 1.0:
        return with_noise(mixed, node.name, Part(0.0, -mixed.unit.signal, mixed=True))
    noise = bernoulli_noise(1.0 - op.drop_rate) / signal_amplification(op.fan_in)
    return with_noise(mixed, node.name, Part(noise, 0.0, mixed=True))


def _rearranged(node: Node, producer: Node, state: State) -> State:
    """Moving values changes none; but flattened, the positions of a channel are neighbours in one long vector."""
    if node.shape is None or producer.shape is None or not len(node.shape) <= 2 < len(producer.shape):
        return state
    return replace(state, span=math.prod(producer.shape[2:]))


def _shift(norm: str, state: State) -> NormShift:
    """Δ of the arriving units, and the part of every dropout in it."""
    state = state.settled()
    unit = state.unit
    total = math.fsum(part.size for part in state.parts.values())
    sources = [
        Source(name, part.size / total, _ratio(unit.var, unit.var + part.excess + part.noise))
        for name, part in state.parts.items()
        if part.size > 0.0
    ]
    # Equal sources differ in their last digits: these must not decide the order.
    sources.sort(key=lambda source: round(source.share, 9), reverse=True)
    delta = None if state.unknown else _ratio(unit.var, unit.signal + unit.noise)
    return NormShift(norm, delta, tuple(sources), state.unknown)


def _ratio(test: float, train: float) -> float:
    if test <= 0.0 and train <= 0.0:
        return 1.0
    if train <= test / _LARGEST_SHIFT:
        return _LARGEST_SHIFT
    return max(1.0 / _LARGEST_SHIFT, test / train)
