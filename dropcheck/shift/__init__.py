"""Predicts the variance shift Δ = Var_test / Var_train at every norm of a graph."""

from dropcheck.shift.evidence import Evidence, NormShift, Shifts, Source, shift_ratio

__all__ = ["Evidence", "NormShift", "Shifts", "Source", "shift_ratio"]
