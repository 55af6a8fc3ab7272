"""The rows of a table: what was measured at one norm, and what of it each dropout causes."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from dropcheck.graph import Site
from dropcheck.rule import ratio
from dropcheck.shift import Evidence


@dataclass(frozen=True, slots=True)
class MeasuredSource:
    """One dropout's part in the shift at one norm, measured by switching it off while all others stay on.

    Attributes:
        dropout: module path, or ``<module path>/<function>`` of a functional call.
        share: its part of the shift, in (0, 1]: what |log Δ| loses when it is off; the shares of a norm add up to 1.
        delta_without: Δ when it is off, the norms before having the statistics of training without it.
        site: where it stands in the source, if that is known.
    """

    dropout: str
    share: float
    delta_without: float | None
    site: Site | None = None


@dataclass(frozen=True, slots=True)
class Moments:
    """Variance and mean shift at a norm's input in evaluation, beside the running variance used there.

    Attributes:
        moving_var: the running variance, averaged over channels (``moving_var`` of Li et al. 2019, section 4).
        real_var: unbiased variance of the norm's input in evaluation, averaged over channels (``real_var`` there).
        mean_shift: mean over channels of |mean in evaluation − running mean| / sqrt(running variance + eps).
    """

    moving_var: float | None = None
    real_var: float | None = None
    mean_shift: float | None = None

    @property
    def stored_delta(self) -> float | None:
        """``real_var / moving_var``: 1 where the stored statistics are those of evaluation."""
        return quotient(self.real_var, self.moving_var)

    @property
    def shift_ratio(self) -> float | None:
        """max(real/moving, moving/real) ≥ 1 (Li et al. 2019, section 4, step 3); infinite without any variance."""
        return None if self.stored_delta is None else ratio(self.stored_delta)


@dataclass(frozen=True, slots=True)
class MeasuredNorm:
    """What was measured at the input of one norm. What could not be measured is None, and ``remark`` says why.

    A layer's variances are means over its channels; channels whose values are no numbers are left out of all of them.

    Attributes:
        name: module path.
        kind: class name, such as ``BatchNorm2d``.
        site: where it stands in the source, if that is known.
        stored: in evaluation (dropout off, running statistics in use), as the model was given.
        train_var: unbiased variance in training: dropout on, batch statistics in use, same weights.
        delta_error: standard error of ``delta``, from how the batches differ; None for too few, and a note says so.
        train_mean_shift: mean over channels of |mean in evaluation − mean in training| / sqrt(variance in training).
        after: in evaluation after recalibration; None where nothing was recalibrated.
        predicted: Δ as the linter predicts it; ``evidence``: what that rests on.
        sources: the dropouts behind the shift, the largest share first; empty unless asked for.
        moving_var_per_channel … delta_per_channel: the same, channel by channel; None where there is no number.
        samples: values per channel and mode that the variances rest on.
    """

    name: str
    kind: str
    site: Site | None = None
    stored: Moments = Moments()
    train_var: float | None = None
    delta_error: float | None = None
    train_mean_shift: float | None = None
    after: Moments | None = None
    predicted: float | None = None
    evidence: Evidence | None = None
    sources: tuple[MeasuredSource, ...] = ()
    moving_var_per_channel: tuple[float | None, ...] = ()
    real_var_per_channel: tuple[float | None, ...] = ()
    train_var_per_channel: tuple[float | None, ...] = ()
    samples: int = 0
    remark: str | None = None

    @property
    def moving_var(self) -> float | None:
        return self.stored.moving_var

    @property
    def real_var(self) -> float | None:
        return self.stored.real_var

    @property
    def mean_shift(self) -> float | None:
        return self.stored.mean_shift

    @property
    def shift_ratio(self) -> float | None:
        """max(real/moving, moving/real) ≥ 1 (Li et al. 2019, section 4, step 3)."""
        return self.stored.shift_ratio

    @property
    def delta(self) -> float | None:
        """Δ = Var_test / Var_train, both measured: ``real_var / train_var``."""
        return quotient(self.real_var, self.train_var)

    @property
    def delta_per_channel(self) -> tuple[float | None, ...]:
        return tuple(map(quotient, self.real_var_per_channel, self.train_var_per_channel))

    @property
    def delta_before(self) -> float | None:
        """``real_var / moving_var`` before recalibration."""
        return self.stored.stored_delta

    @property
    def delta_after(self) -> float | None:
        """``real_var / moving_var`` after recalibration; None where nothing was recalibrated."""
        return None if self.after is None else self.after.stored_delta

    @property
    def prediction_error(self) -> float | None:
        """|predicted Δ / measured Δ − 1|."""
        error = quotient(self.predicted, self.delta)
        return None if error is None else abs(error - 1.0)

    @property
    def badness(self) -> float:
        """The larger of max(Δ, 1/Δ) and the shift ratio; 0 where nothing is known, or nothing stored."""
        if self.moving_var is None:
            return 0.0
        known = [ratio(one) for one in (self.delta, self.stored.stored_delta) if one is not None]
        return max(known, default=0.0)


def quotient(one: float | None, other: float | None) -> float | None:
    """``one / other``, None where either is missing or the other is not positive."""
    return None if one is None or other is None or not other > 0.0 else one / other


_NUMBERS = (
    *("moving_var", "real_var", "train_var", "delta", "delta_error", "shift_ratio", "mean_shift", "train_mean_shift"),
    *("delta_before", "delta_after", "predicted", "evidence", "samples", "remark"),
    *("moving_var_per_channel", "real_var_per_channel", "train_var_per_channel", "delta_per_channel"),
)


def as_json(norm: MeasuredNorm) -> dict[str, Any]:
    sources = [
        {"dropout": one.dropout, "share": one.share, "delta_without": one.delta_without, "location": _place(one.site)}
        for one in norm.sources
    ]
    numbers = {name: _finite(getattr(norm, name)) for name in _NUMBERS}
    return {"name": norm.name, "kind": norm.kind, "location": _place(norm.site), **numbers, "sources": sources}


def _finite(value: Any) -> Any:
    return None if value in (inf, -inf) else value


def _place(site: Site | None) -> dict[str, str | int] | None:
    return None if site is None else {"path": site.path, "line": site.line, "column": site.column}
