"""From a captured graph and its shifts to a Chart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TypeVar

from dropcheck.diagram.chart import Box, Chart, Fold, Link, Role
from dropcheck.diagram.folding import Repeat, blocks
from dropcheck.graph import Node, Passage
from dropcheck.ops import (
    Activation,
    Add,
    Attention,
    BatchNorm,
    Concat,
    Constant,
    Dropout,
    Input,
    LocalNorm,
    Lookup,
    Opaque,
    Output,
    Rearrange,
    Recurrent,
    Scale,
    Weight,
)
from dropcheck.rule import Severity, Subject

K = TypeVar("K")
_TAILS = (Activation, Rearrange, Scale)
"""Operations that go into the box before them when nothing else reads that."""


@dataclass(frozen=True, slots=True)
class _Risk:
    """How bad it is at nodes, and on the edges that harmful noise takes."""

    nodes: Mapping[str, Severity]
    edges: Mapping[tuple[str, str], Severity]


def chart(subject: Subject, *, fold: bool = True) -> Chart:
    """The picture of one captured model; ``fold``: blocks that repeat are shown once."""
    risk, groups = _risk(subject), tuple(_groups(subject))
    place = {node.name: position for position, group in enumerate(groups) for node in group}
    repeated = _repeated(groups, place) if fold else ()
    shown = _shown(len(groups), repeated)
    instances: dict[int, list[Sequence[Node]]] = {}
    for position, group in enumerate(groups):
        instances.setdefault(shown[position], []).append(group)
    index = {position: number for number, position in enumerate(sorted(instances))}
    links: dict[tuple[int, int], Severity | None] = {}
    for target, group in enumerate(groups):
        for name in group[0].inputs:
            if name in place and shown[place[name]] < shown[target]:
                ends = index[shown[place[name]]], index[shown[target]]
                links[ends] = _worse(links.get(ends), risk.edges.get((name, group[0].name)))
    return Chart(
        subject.target,
        tuple(_box(subject, instances[position], risk) for position in index),
        tuple(Link(*ends, links[ends]) for ends in sorted(links)),
        tuple(_fold(one, groups, index) for one in repeated),
    )


def _repeated(groups: Sequence[Sequence[Node]], place: Mapping[str, int]) -> tuple[Repeat, ...]:
    """Blocks are alike that do the same with what lies equally far back; sizes, rates and shifts may differ."""
    items = []
    for here, group in enumerate(groups):
        reads = sorted({here - place[name] for name in group[0].inputs if name in place})
        items.append((*(_kind(node) for node in group), *reads))
    return blocks(items, [_parts(group[0].path) for group in groups])


def _parts(path: str) -> tuple[str, ...]:
    module, slash, function = path.partition("/")
    return (*(module.split(".") if module else ()), *((slash + function,) if slash else ()))


def _groups(subject: Subject) -> Iterator[tuple[Node, ...]]:
    """The nodes of each box in execution order, constants left out (random ones are noise, and stay)."""
    graph = subject.graph
    boxes: list[list[Node]] = []
    box_of: dict[str, list[Node]] = {}
    for node in graph:
        if isinstance(node.op, Constant) and not node.op.random:
            continue
        before = [name for name in node.inputs if name in box_of]
        box = box_of[before[0]] if len(before) == 1 else None
        if box is not None and box[-1].name == before[0] and _joins(subject, box, node):
            box.append(node)
        else:
            box = [node]
            boxes.append(box)
        box_of[node.name] = box
    yield from map(tuple, boxes)


def _joins(subject: Subject, box: Sequence[Node], node: Node) -> bool:
    """Whether it goes into the box of the one operation it reads: of the same module, and read by nothing else."""
    last = box[-1]
    if len(subject.graph.successors(last)) != 1 or isinstance(last.op, Dropout | Input | Opaque):
        return False
    if _parts(last.path)[:-1] != _parts(node.path)[:-1]:
        return False
    if isinstance(node.op, _TAILS):
        return True
    return (
        isinstance(node.op, BatchNorm | LocalNorm) and isinstance(last.op, Weight | Add) and not _shifted(subject, node)
    )


def _shifted(subject: Subject, node: Node) -> bool:
    shift = subject.shifts.norms.get(node.name)
    return shift is not None and bool(shift.sources or shift.unknown)


def _risk(subject: Subject) -> _Risk:
    nodes: dict[str, Severity] = {}
    edges: dict[tuple[str, str], Severity] = {}
    for shift in subject.shifts.norms.values():
        norm = subject.graph[shift.norm]
        for source in shift.sources if shift.delta is not None else ():
            dropout = subject.graph[source.dropout]
            passage = subject.graph.passages(dropout).get(shift.norm)
            # As rules have it: near exact where nothing stands between, capped where weights decide.
            judge = subject.thresholds.severity if passage == Passage(0, 0) else subject.severity
            alone, all_together = judge(source.delta), judge(shift.delta or 0.0)
            _raise(nodes, dropout.name, alone)
            _raise(nodes, shift.norm, all_together)
            if passage is not None:
                way = [dropout, *subject.graph.route(dropout, norm), norm]
                for start, end in pairwise(way):
                    _raise(edges, (start.name, end.name), all_together)
    return _Risk(nodes, edges)


def _raise(worst: dict[K, Severity], key: K, severity: Severity) -> None:
    found = _worse(worst.get(key), None if severity is Severity.INFO else severity)
    if found is not None:
        worst[key] = found


def _worse(one: Severity | None, other: Severity | None) -> Severity | None:
    return max(filter(None, (one, other)), key=lambda severity: severity.rank, default=None)


def _shown(count: int, blocks: Iterable[Repeat]) -> list[int]:
    """For every box the one that is shown in its place."""
    shown = list(range(count))
    for block in blocks:
        for position in range(block.start, block.start + block.period * block.times):
            shown[position] = block.start + (position - block.start) % block.period
    return shown


def _fold(block: Repeat, groups: Sequence[Sequence[Node]], order: Mapping[int, int]) -> Fold:
    ends = (block.start, block.start + block.period * (block.times - 1))
    first, last = (_common([groups[at + step][0].path for step in range(block.period)]) for at in ends)
    name = f"{first} … {last}" if first and last and first != last else first or last
    return Fold(order[block.start], order[block.start + block.period - 1], block.times, name)


def _common(paths: Sequence[str]) -> str:
    """The innermost module that all of these lie in."""
    inner = [_parts(path)[:-1] for path in paths]
    return ".".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, zip(*inner, strict=False)))


def _box(subject: Subject, groups: Sequence[Sequence[Node]], risk: _Risk) -> Box:
    """One box for the same box of all blocks that it stands for."""
    first, firsts = groups[0][0], [group[0] for group in groups]
    severity: Severity | None = None
    for node in firsts:
        severity = _worse(severity, risk.nodes.get(node.name))
    title = " · ".join(dict.fromkeys(_kind(node) for node in groups[0]))
    shape = groups[0][-1].shape
    return Box(title, first.path, _role(first), _note(subject, firsts), "×".join(map(str, (shape or ())[1:])), severity)


def _note(subject: Subject, nodes: Sequence[Node]) -> str:
    rates = [node.op.drop_rate for node in nodes if isinstance(node.op, Dropout | Recurrent | Attention)]
    if isinstance(nodes[0].op, Dropout) or any(rates):
        return f"drop rate {_span(rates, 'g')}"
    shifts = [subject.shifts.norms[node.name] for node in nodes if _shifted(subject, node)]
    if not shifts:
        return ""
    deltas = [shift.delta for shift in shifts if shift.delta is not None]
    return f"Δ = {_span(deltas, '.2f')}" if deltas else "Δ unknown: something opaque ahead"


def _span(numbers: Sequence[float], form: str) -> str:
    low, high = format(min(numbers), form), format(max(numbers), form)
    return low if low == high else f"{low} … {high}"


def _kind(node: Node) -> str:
    op = node.op
    match op:
        case Opaque(target=target):
            return target
        case Input() | Output() | Add() | Concat():
            return type(op).__name__.lower()
        case Constant():
            return "random numbers"
    kind = getattr(op, "kind", None)
    return kind if isinstance(kind, str) else _named(node)


def _named(node: Node) -> str:
    """Pools and products are called by what is called in the source."""
    op = type(node.op).__name__
    reduce = getattr(node.op, "reduce", None)
    whole = "global " if getattr(node.op, "is_global", False) else ""
    return f"{whole}{reduce} {op.lower()}" if reduce is not None else op.lower()


def _role(node: Node) -> Role:
    match node.op:
        case Input() | Output():
            return Role.END
        case Dropout() | Constant():
            return Role.DROPOUT
        case BatchNorm() | LocalNorm():
            return Role.NORM
        case Weight() | Lookup() | Recurrent() | Attention():
            return Role.WEIGHT
        case Opaque():
            return Role.OPAQUE
    return Role.OTHER
