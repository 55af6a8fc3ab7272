"""What is known about a variance shift, and how it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How sure a Δ is: closed forms with typical values, a trained state dict, or a run on data."""

    PRIOR = "prior"
    WEIGHTS = "weights"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Source:
    """One dropout's part in the shift at one norm.

    Attributes:
        dropout: node name of the dropout.
        share: its part of the noise at the norm, in (0, 1]; the shares of one norm add up to 1.
        delta: Δ = Var_test / Var_train if it were the only dropout.
    """

    dropout: str
    share: float
    delta: float


@dataclass(frozen=True, slots=True)
class NormShift:
    """The variance shift at the input of one norm.

    Attributes:
        norm: node name of the norm.
        delta: Δ = Var_test / Var_train, None when an operation in ``unknown`` stands between a dropout and the norm.
        sources: the dropouts whose noise arrives, the largest share first.
        unknown: node names of the opaque operations that dropout noise passed on its way here.
        per_channel: Δ of every channel, where the evidence knows channels; empty otherwise. None for a channel whose
            statistics say nothing.
    """

    norm: str
    delta: float | None
    sources: tuple[Source, ...] = ()
    unknown: tuple[str, ...] = ()
    per_channel: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Shifts:
    """The predicted shift of every norm that remembers, by node name, in execution order."""

    evidence: Evidence
    norms: Mapping[str, NormShift]


def shift_ratio(delta: float) -> float:
    """max(Δ, 1/Δ) ≥ 1, what Li et al. 2019 tabulate (Table 2). Raises ValueError unless Δ > 0."""
    if not delta > 0.0:
        raise ValueError(f"a variance ratio is positive, got {delta}")
    return max(delta, 1.0 / delta)
