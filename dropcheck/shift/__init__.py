"""Predicts the variance shift Δ = Var_test / Var_train at every norm of a graph."""

from dropcheck.shift.evidence import Evidence, NormShift, Shifts, Source, shift_ratio
from dropcheck.shift.pointwise import Moments, gaussian_moments
from dropcheck.shift.priors import COS2_THETA, RHO, typical_cos2_theta
from dropcheck.shift.propagate import predict, predict_changed
from dropcheck.shift.stats import LayerStatistics

__all__ = [
    "COS2_THETA",
    "RHO",
    "Evidence",
    "LayerStatistics",
    "Moments",
    "NormShift",
    "Shifts",
    "Source",
    "gaussian_moments",
    "predict",
    "predict_changed",
    "shift_ratio",
    "typical_cos2_theta",
]
