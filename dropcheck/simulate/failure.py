"""What a run on synthetic input can end in."""

from __future__ import annotations


class PredictionError(Exception):
    """A model of whose weights nothing can be read, with the reason."""
