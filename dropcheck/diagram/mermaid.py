"""A chart as a Mermaid flowchart, for Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.diagram.chart import Chart, Role
from dropcheck.diagram.colors import FILL, INK, LINE, caption


def render(chart: Chart) -> str:
    return "\n".join(_lines(chart)) + "\n"


def _lines(chart: Chart) -> Iterator[str]:
    yield "flowchart TD"
    starts = {fold.first: fold for fold in chart.folds}
    ends = {fold.last for fold in chart.folds}
    for position, box in enumerate(chart.boxes):
        if position in starts:
            fold = starts[position]
            yield f'  subgraph f{position}["{_escaped(f"{fold.times} × {fold.name}".rstrip(" ×"))}"]'
        label = "<br/>".join(map(_escaped, caption(box)))
        left, right = ("([", "])") if box.role is Role.END else ("[", "]")
        yield f'  n{position}{left}"{label}"{right}'
        if position in ends:
            yield "  end"
    for link in chart.links:
        yield f"  n{link.source} --> n{link.target}"
    for position, box in enumerate(chart.boxes):
        width = 3 if box.severity is not None else 1
        line = f"stroke:{LINE[box.severity]},stroke-width:{width}px"
        yield f"  style n{position} fill:{FILL[box.role]},{line},color:{INK}"
    for number, link in enumerate(chart.links):
        if link.severity is not None:
            yield f"  linkStyle {number} stroke:{LINE[link.severity]},stroke-width:3px"


def _escaped(text: str) -> str:
    """Mermaid's own entity form: what is not a plain character can neither end a label nor become HTML."""
    plain = set(" .,·…×Δ=→_-/()@") | {"+"}
    return "".join(char if char.isalnum() or char in plain else f"#{ord(char)};" for char in text)
