"""Pictures of graphs: what becomes a box, what is folded, where harm is marked, and that no format can be broken."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from graphs import bn, chain, conv, draw, dropout, max_pool, node, relu

from dropcheck.diagram import Chart, chart, render
from dropcheck.diagram.folding import Repeat, blocks, repeats
from dropcheck.graph import Graph
from dropcheck.ops import Add, Concat, Constant, Input, Op, Opaque, Output
from dropcheck.rule import Severity, Subject, Thresholds
from dropcheck.shift import predict


def picture(graph: Graph, *, fold: bool = True, target: str = "nets.py:Net") -> Chart:
    return chart(Subject(target, graph, predict(graph), Thresholds()), fold=fold)


def called(graph: Graph, **paths: str) -> Graph:
    """The graph with these module paths."""
    return Graph(tuple(replace(one, path=paths.get(one.name, one.path)) for one in graph))


def titles(shown: Chart) -> list[str]:
    return [box.title for box in shown.boxes]


def test_quiet_norms_and_activations_go_with_the_layer_before_them() -> None:
    shown = picture(chain(conv1=conv(), bn1=bn(), act=relu(), pool=max_pool()))
    assert titles(shown) == ["input", "Conv2d · BatchNorm2d · relu", "max pool", "output"]
    assert [(link.source, link.target) for link in shown.links] == [(0, 1), (1, 2), (2, 3)]


def test_a_norm_that_noise_reaches_stands_alone_with_its_shift() -> None:
    shown = picture(chain(conv1=conv(), drop=dropout(0.5), bn1=bn(), act=relu()))
    norm = next(box for box in shown.boxes if box.path == "bn1")
    drop = next(box for box in shown.boxes if box.path == "drop")
    assert norm.title == "BatchNorm2d · relu"
    assert re.fullmatch(r"Δ = 0\.\d\d", norm.note)
    assert drop.note == "drop rate 0.5"
    assert (norm.severity, drop.severity) == (Severity.ERROR, Severity.ERROR)


def test_the_way_of_harmful_noise_is_marked_and_no_other() -> None:
    shown = picture(chain(conv1=conv(), drop=dropout(0.5), act=relu(), bn1=bn(), conv2=conv()))
    marked = [(shown.boxes[link.source].path, shown.boxes[link.target].path) for link in shown.links if link.severity]
    assert marked == [("drop", "act"), ("act", "bn1")]


def test_harmless_noise_is_not_marked() -> None:
    shown = picture(chain(bn1=bn(), drop=dropout(0.01), conv1=conv(100_000), bn2=bn()))
    assert [box.severity for box in shown.boxes] == [None] * len(shown.boxes)
    assert [link.severity for link in shown.links] == [None] * len(shown.links)
    assert next(box for box in shown.boxes if box.path == "bn2").note == "Δ = 1.00"


def test_what_is_not_understood_says_so() -> None:
    shown = picture(chain(drop=dropout(0.5), odd=Opaque("fancy.op"), bn1=bn()))
    assert "fancy.op" in titles(shown)
    assert next(box for box in shown.boxes if box.path == "bn1").note == "Δ unknown: something opaque ahead"


def test_what_two_read_is_a_box_of_its_own() -> None:
    graph = draw(
        x=node(Input()), c=node(conv(), "x"), a=node(relu(), "c"), s=node(Add(), "a", "c"), y=node(Output(), "s")
    )
    assert titles(picture(graph)) == ["input", "Conv2d", "relu", "add", "output"]


def test_constants_are_left_out_unless_they_are_noise() -> None:
    graph = draw(
        x=node(Input()),
        p=node(Constant()),
        r=node(Constant(random=True)),
        s=node(Add(), "x", "p", "r"),
        y=node(Output(), "s"),
    )
    assert titles(picture(graph)) == ["input", "random numbers", "add", "output"]


def stack(*rates: float) -> Graph:
    """Blocks of conv, norm and dropout, each in a module of its own."""
    ops: dict[str, Op] = {}
    paths = {}
    for number, rate in enumerate(rates):
        for name, op in (("conv", conv()), ("bn", bn()), ("drop", dropout(rate))):
            ops[f"{name}{number}"] = op
            paths[f"{name}{number}"] = f"blocks.{number}.{name}"
    return called(chain(**ops), **paths)


def test_blocks_that_repeat_are_shown_once_with_what_differs() -> None:
    shown = picture(stack(0.1, 0.2, 0.3, 0.4))
    assert [(fold.times, fold.name) for fold in shown.folds] == [(3, "blocks.1 … blocks.3")]
    inside = shown.boxes[shown.folds[0].first : shown.folds[0].last + 1]
    assert [box.path for box in inside] == ["blocks.1.conv", "blocks.1.bn", "blocks.1.drop"]
    assert inside[2].note == "drop rate 0.2 … 0.4"
    assert re.fullmatch(r"Δ = 0\.\d\d … 0\.\d\d", inside[1].note)
    assert titles(picture(stack(0.1, 0.2, 0.3, 0.4), fold=False)).count("Dropout") == 4


def test_behind_a_fold_the_way_goes_on() -> None:
    shown = picture(stack(0.1, 0.2, 0.3, 0.4))
    last = len(shown.boxes) - 1
    assert shown.boxes[last].title == "output"
    assert [link.source for link in shown.before(last)] == [shown.folds[0].last]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("abc", []),
        ("aab", [Repeat(0, 1, 2)]),
        ("abababc", [Repeat(0, 2, 3)]),
        ("xaaayaaax", [Repeat(1, 1, 3), Repeat(5, 1, 3)]),
        ("pabcabcabcqzz", [Repeat(1, 3, 3), Repeat(11, 1, 2)]),
    ],
)
def test_repeats(text: str, expected: list[Repeat]) -> None:
    assert list(repeats(text)) == expected


def test_blocks_keep_to_modules() -> None:
    # Seen without modules, "bcab" would repeat across their boundaries.
    paths = [("stem",), *[("body", str(block), name) for block in range(3) for name in "abc"], ("head",)]
    assert blocks("zabcabcabcz", paths) == (Repeat(1, 3, 3),)
    odd = [("stem",), ("a",), ("m", "b"), ("m", "c"), ("n", "a"), ("n", "b"), ("o", "c")]
    assert blocks("zabcabc", odd) == ()


def residual() -> Graph:
    return draw(
        x=node(Input(), shape=(2, 3, 8, 8)),
        c=node(conv(), "x", shape=(2, 64, 8, 8)),
        d=node(dropout(0.4), "c", shape=(2, 64, 8, 8)),
        b=node(bn(), "d", shape=(2, 64, 8, 8)),
        s=node(Concat(), "c", "b", shape=(2, 128, 8, 8)),
        y=node(Output(), "s", shape=(2, 128, 8, 8)),
    )


def test_text_reads_from_top_to_bottom() -> None:
    lines = render(picture(residual()), "text").splitlines()
    assert lines[0] == "nets.py:Net"
    assert [line.split()[0] for line in lines[1:]] == ["input", "Conv2d", "✗", "✗", "concat", "output"]
    assert lines[5].endswith("128×8×8  + c")
    assert "\x1b[" in render(picture(residual()), "text", color=True)


def test_svg_is_xml_with_a_box_for_each() -> None:
    root = ET.fromstring(render(picture(residual()), "svg"))
    space = {"s": "http://www.w3.org/2000/svg"}
    words = [one.text for one in root.iterfind(".//s:text", space)]
    assert {"Conv2d", "drop rate 0.4", "concat"} <= set(words)
    assert len(root.findall(".//s:g", space)) == 6


def test_mermaid_and_dot_have_every_link() -> None:
    shown = picture(residual())
    assert len(re.findall(r"^  n\d+ --> n\d+$", render(shown, "mermaid"), re.MULTILINE)) == len(shown.links)
    assert len(re.findall(r"^  n\d+ -> n\d+ \[", render(shown, "dot"), re.MULTILINE)) == len(shown.links)


HOSTILE = '"];--></text><script>\x1b[31m\n%%{init}end'


@pytest.mark.parametrize("format", ["text", "svg", "mermaid", "dot"])
def test_no_name_breaks_out(format: str) -> None:
    graph = called(chain(odd=Opaque(HOSTILE), drop=dropout()), drop=HOSTILE)
    text = render(picture(graph, target=HOSTILE), format)
    assert "\x1b" not in text
    if format == "svg":
        assert ET.fromstring(text).find(".//{*}script") is None
    elif format == "mermaid":
        assert "<script" not in text
        assert all(line.count('"') in (0, 2) for line in text.splitlines())
    elif format == "dot":
        assert all(line.replace('\\"', "").count('"') % 2 == 0 for line in text.splitlines())
    else:
        assert len(text.splitlines()) == 5
