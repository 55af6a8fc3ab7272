"""Figures of a comparison, and Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr  # type: ignore[import-untyped]

_WIDE = 0.1  # below this range of measured Δ, ranks are noise


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predicted and measured Δ of the same places."""

    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """|predicted/measured − 1| of every place."""
        return tuple(abs(one / other - 1.0) for one, other in zip(self.predicted, self.measured, strict=True))

    @property
    def median(self) -> float:
        return statistics.median(self.errors)

    @property
    def worst(self) -> float:
        return max(self.errors)

    @property
    def spearman(self) -> float | None:
        """Rank correlation in [−1, 1]; None where the measured Δ hardly differ."""
        if max(self.measured) - min(self.measured) <= _WIDE:
            return None
        return rank_correlation(self.predicted, self.measured)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, in [−1, 1]; nan where one side is constant."""
    return float(spearmanr(one, other).statistic)


def joined(comparisons: Sequence[Comparison]) -> Comparison:
    return Comparison(
        tuple(value for comparison in comparisons for value in comparison.predicted),
        tuple(value for comparison in comparisons for value in comparison.measured),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` in [0, 1] of all values do not exceed, between neighbours by straight lines."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def percent(share: float) -> str:
    return f"{100.0 * share:.1f} %"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are figures."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
