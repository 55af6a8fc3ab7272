"""Colours that pictures share: dropouts violet, norms blue, harm yellow and red. Dark on light, legible in print."""

from __future__ import annotations

from dropcheck.diagram.chart import Box, Role
from dropcheck.report.wording import visible
from dropcheck.rule import Severity

FILL = {
    Role.END: "#ffffff",
    Role.WEIGHT: "#eef1f4",
    Role.DROPOUT: "#eadcfb",
    Role.NORM: "#d9eafc",
    Role.OPAQUE: "#d0d0d0",
    Role.OTHER: "#f8f9fa",
}
LINE = {None: "#8b949e", Severity.INFO: "#8b949e", Severity.WARNING: "#bf8700", Severity.ERROR: "#cf222e"}
INK = "#1f2328"
FAINT = "#57606a"


def caption(box: Box) -> tuple[str, ...]:
    """What stands in a box, line by line: what it does, what to know of it, where it is."""
    place = "" if box.role is Role.END else box.path
    return tuple(visible(line) for line in (box.title, box.note, place) if line)
