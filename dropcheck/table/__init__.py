"""What measuring shifts on real batches tells: one row per batch norm. Torch-free, and nothing but data."""

from __future__ import annotations

from dropcheck.table.rows import MeasuredNorm, MeasuredSource, Moments, quotient
from dropcheck.table.table import OFF, SYNTHETIC, MeasurementError, Progress, ShiftTable, joined

__all__ = [
    "OFF",
    "SYNTHETIC",
    "MeasuredNorm",
    "MeasuredSource",
    "MeasurementError",
    "Moments",
    "Progress",
    "ShiftTable",
    "joined",
    "quotient",
]
