"""A chart in the DOT language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.diagram.chart import Chart, Role
from dropcheck.diagram.colors import FAINT, FILL, INK, LINE, caption
from dropcheck.report.wording import visible


def render(chart: Chart) -> str:
    return "\n".join(_lines(chart)) + "\n"


def _lines(chart: Chart) -> Iterator[str]:
    yield f"digraph {_quoted(visible(chart.title))} {{"
    yield f'  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11, fontcolor="{INK}"];'
    yield "  edge [arrowsize=0.7];"
    folded = {position: fold for fold in chart.folds for position in range(fold.first, fold.last + 1)}
    for position, box in enumerate(chart.boxes):
        fold = folded.get(position)
        if fold is not None and position == fold.first:
            name = _quoted(visible(f"{fold.times} × {fold.name}".rstrip(" ×")))
            yield f"  subgraph cluster_{position} {{"
            yield f'    label={name}; fontname="Helvetica"; fontcolor="{FAINT}"; style=dashed;'
        width = 2.5 if box.severity is not None else 1
        shape = ", shape=oval" if box.role is Role.END else ""
        label = _quoted("\n".join(caption(box)))
        look = f'fillcolor="{FILL[box.role]}", color="{LINE[box.severity]}", penwidth={width}{shape}'
        yield f"  n{position} [label={label}, {look}];"
        if fold is not None and position == fold.last:
            yield "  }"
    for link in chart.links:
        width = 2.5 if link.severity is not None else 1
        yield f'  n{link.source} -> n{link.target} [color="{LINE[link.severity]}", penwidth={width}];'
    yield "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
