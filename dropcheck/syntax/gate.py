"""What something is worth in evaluation mode, and how such values combine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any


class Gate(Enum):
    """In evaluation mode, an expression is

    OFF: false or zero; ON: true, in training as well; FIXED: what the model was configured to, in training as well;
    OPEN: whatever somebody decides who is not seen here, the caller for one.
    """

    OFF = "off"
    ON = "on"
    FIXED = "fixed"
    OPEN = "open"

    @property
    def always(self) -> bool:
        """Whether training mode has no say in it, and it may well be on."""
        return self in (Gate.ON, Gate.FIXED)


OPPOSITE = {Gate.OFF: Gate.ON, Gate.ON: Gate.OFF, Gate.FIXED: Gate.FIXED, Gate.OPEN: Gate.OPEN}


def conjunction(gates: Iterable[Gate], default: Gate = Gate.ON) -> Gate:
    """On unless one says otherwise."""
    found = set(gates)
    return next((gate for gate in (Gate.OFF, Gate.OPEN, Gate.FIXED) if gate in found), default)


def disjunction(gates: Iterable[Gate]) -> Gate:
    found = set(gates)
    if Gate.ON in found:
        return Gate.ON
    # Off by the mode or on by another flag: somebody has thought of the mode.
    return found.pop() if len(found) == 1 else Gate.OPEN


def mixture(gates: list[Gate]) -> Gate:
    """One of several, it is not known which."""
    found = set(gates)
    if len(found) == 1:
        return found.pop()
    return Gate.OPEN if Gate.OPEN in found else Gate.FIXED


COMPARED_TO_ZERO: Mapping[str, Callable[[Any], bool]] = {
    "is": lambda constant: constant is False,
    "is not": lambda constant: constant is not False,
    "==": lambda constant: constant == 0,
    "!=": lambda constant: constant != 0,
    ">": lambda constant: constant < 0,
    ">=": lambda constant: constant <= 0,
    "<": lambda constant: constant > 0,
    "<=": lambda constant: constant >= 0,
}
"""``0 op constant``."""
