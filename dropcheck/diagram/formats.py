"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable

from dropcheck.diagram import dot, mermaid, svg, text
from dropcheck.diagram.chart import Chart

_RENDERERS: dict[str, Callable[[Chart, bool], str]] = {
    "text": text.render,
    "mermaid": lambda chart, color: mermaid.render(chart),
    "dot": lambda chart, color: dot.render(chart),
    "svg": lambda chart, color: svg.render(chart),
}
FORMATS = tuple(_RENDERERS)


def render(chart: Chart, format: str, *, color: bool = False) -> str:
    """The chart in one of FORMATS; ``color`` is for text on a terminal only. Raises KeyError for any other."""
    return _RENDERERS[format](chart, color)
