"""dropcheck finds where dropout and batch normalisation harm each other, says by how much, and shows the way out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropcheck.api import lint
    from dropcheck.measure.api import probe, recalibrate
    from dropcheck.result import Report
    from dropcheck.rule import Finding, Severity, Thresholds
    from dropcheck.table import MeasurementError, ShiftTable

__version__ = "0.1.0"
__all__ = [
    "Finding",
    "MeasurementError",
    "Report",
    "Severity",
    "ShiftTable",
    "Thresholds",
    "__version__",
    "lint",
    "probe",
    "recalibrate",
]

_HOMES = {
    "Finding": "dropcheck.rule",
    "MeasurementError": "dropcheck.table",
    "Report": "dropcheck.result",
    "Severity": "dropcheck.rule",
    "ShiftTable": "dropcheck.table",
    "Thresholds": "dropcheck.rule",
    "lint": "dropcheck.api",
    "probe": "dropcheck.measure.api",
    "recalibrate": "dropcheck.measure.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
