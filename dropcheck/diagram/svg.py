"""A chart as SVG: boxes below each other in execution order, longer links in lanes on the right."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from dropcheck.diagram.chart import Box, Chart, Fold, Link, Role
from dropcheck.diagram.colors import FAINT, FILL, INK, LINE, caption
from dropcheck.report.wording import visible

_LINE, _PAD, _GAP, _LEFT, _TOP, _LANE = 15, 6, 14, 110, 34, 12
_LETTER = 6.6
"""Average width of a letter at 11 px."""


def render(chart: Chart) -> str:
    width = max(180.0, max(len(line) for box in chart.boxes for line in caption(box)) * _LETTER + 4 * _PAD)
    tops, bottom = _tops(chart.boxes)
    long = [link for link in chart.links if link.target != link.source + 1]
    lanes = _lanes(long)
    total = _LEFT + width + (max(lanes, default=0) + 2) * _LANE + 10
    root = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {total:g} {bottom:g}",
        width=f"{total:g}",
        height=f"{bottom:g}",
        attrib={"font-family": "Helvetica, Arial, sans-serif", "font-size": "11"},
    )
    ET.SubElement(root, "rect", width="100%", height="100%", fill="#ffffff")
    _words(root, 10, 20, chart.title, INK, bold=True)
    for fold in chart.folds:
        _bracket(root, fold, tops[fold.first], tops[fold.last] + _height(chart.boxes[fold.last]))
    middle = _LEFT + width / 2
    for link in chart.links:
        start, end = tops[link.source] + _height(chart.boxes[link.source]), tops[link.target]
        if link.target == link.source + 1:
            _arrow(root, f"M{middle:g} {start:g}V{end - 4:g}", middle, end, link, down=True)
    for link, lane in zip(long, lanes, strict=True):
        right, x = _LEFT + width, _LEFT + width + (lane + 1) * _LANE
        start = tops[link.source] + _height(chart.boxes[link.source]) - 5
        _arrow(
            root,
            f"M{right:g} {start:g}H{x:g}V{tops[link.target] + 5:g}H{right + 4:g}",
            right,
            tops[link.target] + 5,
            link,
            down=False,
        )
    for box, top in zip(chart.boxes, tops, strict=True):
        _draw(root, box, top, width)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _height(box: Box) -> float:
    return len(caption(box)) * _LINE + 2 * _PAD


def _tops(boxes: Sequence[Box]) -> tuple[list[float], float]:
    tops, y = [], float(_TOP)
    for box in boxes:
        tops.append(y)
        y += _height(box) + _GAP
    return tops, y


def _lanes(links: Sequence[Link]) -> list[int]:
    """A lane for each link so that none runs over another; the shortest are the nearest."""
    taken: list[list[Link]] = []
    lane_of: dict[Link, int] = {}
    for link in sorted(links, key=lambda link: link.target - link.source):
        free = (
            number
            for number, lane in enumerate(taken)
            if all(link.source >= one.target or link.target <= one.source for one in lane)
        )
        lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append(link)
        lane_of[link] = lane
    return [lane_of[link] for link in links]


def _draw(root: ET.Element, box: Box, top: float, width: float) -> None:
    group = ET.SubElement(root, "g")
    ET.SubElement(group, "title").text = visible(f"{box.path} {box.shape}".strip())
    ET.SubElement(
        group,
        "rect",
        attrib={"stroke-width": "2.5" if box.severity is not None else "1"},
        x=f"{_LEFT:g}",
        y=f"{top:g}",
        width=f"{width:g}",
        height=f"{_height(box):g}",
        rx="12" if box.role is Role.END else "4",
        fill=FILL[box.role],
        stroke=LINE[box.severity],
    )
    for number, line in enumerate(caption(box)):
        color = LINE[box.severity] if line == box.note and box.severity is not None else INK if number == 0 else FAINT
        _words(
            group, _LEFT + 2 * _PAD, top + _PAD + 11 + number * _LINE, line, color, bold=number == 0 or line == box.note
        )


def _words(
    parent: ET.Element, x: float, y: float, text: str, color: str, *, bold: bool = False, anchor: str = "start"
) -> None:
    weight = {"font-weight": "bold"} if bold else {}
    ET.SubElement(
        parent, "text", attrib=weight | {"text-anchor": anchor}, x=f"{x:g}", y=f"{y:g}", fill=color
    ).text = visible(text)


def _bracket(root: ET.Element, fold: Fold, top: float, bottom: float) -> None:
    x = _LEFT - 12
    ET.SubElement(root, "path", d=f"M{x + 6:g} {top:g}H{x:g}V{bottom:g}H{x + 6:g}", fill="none", stroke=FAINT)
    _words(root, x - 5, (top + bottom) / 2 + 4, f"{fold.times} ×", INK, bold=True, anchor="end")
    for number, line in enumerate(fold.name.split(" … ")):
        _words(
            root,
            x - 5,
            (top + bottom) / 2 + 4 + (number + 1) * 12,
            line if len(line) < 17 else "…" + line[-15:],
            FAINT,
            anchor="end",
        )


def _arrow(root: ET.Element, path: str, x: float, y: float, link: Link, *, down: bool) -> None:
    color, width = LINE[link.severity], "2.5" if link.severity is not None else "1"
    ET.SubElement(root, "path", attrib={"stroke-width": width}, d=path, fill="none", stroke=color)
    head = f"M{x - 4:g} {y - 6:g}h8l-4 6z" if down else f"M{x + 6:g} {y - 4:g}v8l-6 -4z"
    ET.SubElement(root, "path", d=head, fill=color)
