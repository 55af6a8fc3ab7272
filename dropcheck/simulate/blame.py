"""Which dropout causes which part of the noise in a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dropcheck.simulate.called import Called
from dropcheck.simulate.copies import TINY, Copies


@dataclass(frozen=True, slots=True)
class Blame:
    """Shares of dropouts in the noise of a tensor, adding up to 1.

    ``fresh`` are those whose masks are independent from element to element here: no weight layer mixed them yet.
    """

    shares: Mapping[str, float]
    fresh: frozenset[str] = frozenset()

    def through_weights(self) -> Blame:
        return Blame(self.shares)


def dropped_behind(blame: Blame | None, before: Tensor, after: Tensor, name: str, fresh: bool, copies: Copies) -> Blame:
    """Behind the dropout ``name`` that made ``after`` of ``before``, whose blame is ``blame``."""
    if blame is None:
        return dropped(None, name, 0.0, fresh)
    noise = float(copies.noise(after).mean())
    return dropped(blame, name, min(float(copies.noise(before).mean()) / max(noise, TINY), 1.0), fresh)


def dropped(before: Blame | None, name: str, kept: float, fresh: bool) -> Blame:
    """Behind a dropout: what it adds is its own. ``kept``: the part of the noise that was there before, in [0, 1]."""
    own = frozenset({name}) if fresh else frozenset()
    if before is None:
        return Blame({name: 1.0}, own)
    shares = {other: share * kept for other, share in before.shares.items()}
    shares[name] = shares.get(name, 0.0) + 1.0 - kept
    return Blame(shares, before.fresh | own)


def mixed(parts: Sequence[tuple[Blame, float]]) -> Blame:
    """Behind a sum or concatenation: shares in proportion to each part's noise energy."""
    total = sum(energy for _, energy in parts)
    shares: dict[str, float] = {}
    for part, energy in parts:
        weight = energy / total if total > 0.0 else 1.0 / len(parts)
        for name, share in part.shares.items():
            shares[name] = shares.get(name, 0.0) + share * weight
    return Blame(shares, frozenset().union(*(part.fresh for part, _ in parts)))


def weighed(blame: Blame, call: Called, out: Tensor, copies: Copies) -> Blame:
    """Behind a weight layer, a call of x, weight and so on.

    A fresh element's noise is independent of its neighbours': it passes as Σ w² Var (Kim et al. 2023, supplement,
    Eq. 12). What is not fresh is correlated and takes the rest of the noise that really arrived.
    """
    fresh = sum(blame.shares[name] for name in blame.fresh)
    args = call.args
    plain = len(args) > 1 and isinstance(args[1], Tensor) and copies.hold(args[0]) and copies.hold(out)
    if not 0.0 < fresh < 1.0 - 1e-6 or not plain:
        return blame.through_weights()
    rest = [None, *args[3:]] if len(args) > 2 else []
    options = {name: None if name == "bias" else option for name, option in call.kwargs.items()}
    passed = call.func(copies.noise(args[0]) * fresh, args[1].square(), *rest, **options)
    now = min(float(passed.mean() / copies.noise(out).mean().clamp_min(TINY)), 1.0)
    factors = (now / fresh, (1.0 - now) / (1.0 - fresh))
    return Blame({name: share * factors[name not in blame.fresh] for name, share in blame.shares.items()})
