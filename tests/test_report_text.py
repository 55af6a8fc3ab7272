"""The text report: what it may claim, how its code frames are drawn, how it wraps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import CLEAN, FINDINGS, FULL, SOURCES, STACK
from rich.cells import cell_len

from dropcheck.graph import Site
from dropcheck.report import render
from dropcheck.report.wording import op_text
from dropcheck.result import AnalysisError, Blame, ErrorKind, ModelReport, NormReport, Report, Status
from dropcheck.rule import Finding, Severity

MODEL = CLEAN.models[0]


def last_lines(report: Report) -> str:
    return render(report, "text", width=200).rsplit("\n\n", 1)[-1]


def at(line: int, column: int, end_line: int, end_column: int) -> Finding:
    """A finding about no known layer, so that its frame shows nothing but its region."""
    site = Site("a.py", line, column, end_line, end_column)
    return Finding("DC101", "name", Severity.ERROR, "message", "", site, "a.py:Net", "op")


def framed(finding: Finding, source: str, *, models: tuple[ModelReport, ...] = (), width: int = 80) -> list[str]:
    """The lines of the code frame, without the indent they share."""
    text = render(Report((finding,), models), "text", width=width, read_source={"a.py": source}.get)
    return [line[4:] for line in text.split("\n\n")[0].split("\n") if "│" in line or "┆" in line]


def test_all_clear_gives_its_reasons() -> None:
    assert last_lines(CLEAN) == "All clear: 1 model, 2 batch norms, largest predicted shift 1.02 (0.2 s)\n"


def test_all_clear_without_a_batch_norm() -> None:
    assert last_lines(Report(models=(replace(MODEL, norms=()),))) == "All clear: 1 model, no batch norms (0.0 s)\n"


def test_a_large_shift_that_no_rule_reported_is_not_clear() -> None:
    large = replace(MODEL, norms=tuple(replace(norm, delta=0.64) for norm in MODEL.norms))
    assert last_lines(replace(CLEAN, models=(large,))) == (
        "No findings in 1 model of 1 file, largest predicted shift 1.56 (0.2 s)\n"
    )


def test_a_part_of_another_model_leaves_the_verdict_alone() -> None:
    part = ModelReport("a.py:Part", Status.SKIPPED, reason="part of a.py:Whole", by_design=True)
    report = replace(CLEAN, models=(MODEL, part))
    assert last_lines(report) == last_lines(CLEAN)
    assert "a.py:Part" not in render(report, "text")
    assert "a.py:Part skipped: part of a.py:Whole" in render(report, "text", verbose=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"errors": (AnalysisError("a.py", ErrorKind.CRASH, "gone", ""),)}, "Not judged: 1 failure"),
        ({"models": (MODEL, ModelReport("a.py:A", Status.SKIPPED))}, "Not judged: 1 model skipped"),
        ({"models": (MODEL, ModelReport("a.py:A", Status.FAILED))}, "Not judged: 1 failure"),
        ({"models": (replace(MODEL, opaque=("f", "g")),)}, "Not judged: 2 operations not understood"),
        (
            {"models": (replace(MODEL, norms=(NormReport("bn", "BatchNorm1d", None, None, (), None),)),)},
            "Not judged: 1 batch norm without a prediction",
        ),
        ({"notebooks": 2}, "Not judged: 2 notebooks"),
        ({"suppressed": 1}, "1 suppressed"),
        ({"findings": FINDINGS[2:3]}, "1 info in 1 model"),
        ({"models": ()}, "No models found in 1 file"),
        ({"models": (ModelReport("a.py:A", Status.SKIPPED),)}, "Nothing analysed in 1 file"),
    ],
)
def test_never_all_clear_when_something_was_not_judged(change: dict[str, object], said: str) -> None:
    report = replace(CLEAN, **change)  # type: ignore[arg-type]
    assert "clear" not in render(report, "text", verbose=True)
    assert said in last_lines(report)


def test_quiet_keeps_findings_and_failures_only() -> None:
    text = render(FULL, "text", quiet=True, read_source=SOURCES.get)
    heads = [line for line in text.split("\n") if line and not line.startswith(" ")]
    assert [head.split()[1] for head in heads[:3]] == ["DC101", "DC101", "DC301"]
    assert [head.split(":")[0] for head in heads[3:]] == [
        "<no source> DC999 warning",
        "nets/broken.py import error",
        "nets/old.py syntax error",
        "nets/broken.py",
    ]
    assert render(CLEAN, "text", quiet=True) == ""


def test_tracebacks_are_for_verbose_only() -> None:
    assert "Traceback" not in render(FULL, "text")
    assert '    File "nets/broken.py", line 3, in <module>' in render(FULL, "text", verbose=True)


def test_color_only_when_asked() -> None:
    plain, colored = (render(FULL, "text", color=color, read_source=SOURCES.get) for color in (False, True))
    assert "\x1b" not in plain
    assert "\x1b[1;31mDC101 error" in colored


def test_many_opaque_operations_are_counted_and_verbose_names_all() -> None:
    model = replace(MODEL, opaque=tuple(f"lib.f{number}" for number in range(9)))
    short, long = (render(Report(models=(model,)), "text", width=300, verbose=verbose) for verbose in (False, True))
    assert "9 operations are not understood: lib.f0, lib.f1, lib.f2, lib.f3, lib.f4, lib.f5 and 3 more; the" in short
    assert "lib.f7, lib.f8; the norms behind them are not judged" in long


def test_a_delta_that_the_message_gives_is_not_repeated() -> None:
    text = render(Report((replace(FINDINGS[0], site=None),)), "text", width=200)
    assert "(Δ = 0.50)" in text
    assert "noise: blocks.0.drop → blocks.0.bn in Stack, evidence prior, 8 occurrences" in text


def test_the_noise_of_many_dropouts() -> None:
    blames = tuple(Blame(f"drop{number}", 0.2) for number in range(5))
    model = replace(STACK, norms=(NormReport("blocks.0.bn", "BatchNorm2d", 0.5, None, blames, None),))
    finding = replace(FINDINGS[0], op="drop3", site=None)
    text = render(Report((finding,), (model,)), "text", width=200)
    assert "drop3 20% + drop0 20% + drop1 20% + 2 more → blocks.0.bn in Stack" in text


def test_noise_of_the_build_that_has_it() -> None:
    """A model built as written and with its dropout switched on is two models of one target."""
    norm = NormReport("blocks.0.bn", "BatchNorm2d", 1.0, None, (), None)
    as_written = replace(STACK, norms=(norm,), dropouts=())
    text = render(Report(FINDINGS[:1], (as_written, STACK)), "text", width=200)
    assert "noise: blocks.0.drop 97% + stem.1 3% → blocks.0.bn in Stack" in text


def test_dropout_and_norm_on_one_line_are_both_pointed_at() -> None:
    source = "y = bn(drop(x))\n"
    norm = NormReport("bn", "BatchNorm1d", 0.5, None, (), Site("a.py", 1, 5, 1, 16))
    dropout = replace(STACK.dropouts[0], name="drop", drop_rate=0.5, site=Site("a.py", 1, 8, 1, 15))
    model = ModelReport("a.py:Net", Status.ANALYSED, norms=(norm,), dropouts=(dropout,))
    finding = replace(at(1, 8, 1, 15), op="drop", norm="bn", delta=0.5)
    assert framed(finding, source, models=(model,)) == [
        " 1 │ y = bn(drop(x))",
        "   │     ~~~~~~~~~~~ Δ = 0.50",
        "   │        ^^^^^^^ drop rate 0.5",
    ]


@pytest.mark.parametrize(
    ("norm_line", "between"),
    [(2, []), (3, [" 2 │ y = 2"]), (4, ["   ┆"])],
    ids=["next line", "one line between is shown", "more are left out"],
)
def test_distance_between_marks(norm_line: int, between: list[str]) -> None:
    source = "".join(f"y = {number}\n" for number in range(1, 6))
    norm = NormReport("bn", "BatchNorm1d", 0.5, None, (), Site("a.py", norm_line, 1, norm_line, 2))
    finding = replace(at(1, 1, 1, 2), norm="bn", delta=0.5)
    drawn = framed(finding, source, models=(ModelReport("a.py:Net", Status.ANALYSED, norms=(norm,)),))
    assert drawn == [" 1 │ y = 1", "   │ ^", *between, f" {norm_line} │ y = {norm_line}", "   │ ~ Δ = 0.50"]


@pytest.mark.parametrize("between", ["", "z = 1", "    # note"])
def test_what_stands_between_marks_is_shown_whole(between: str) -> None:
    source = f"    x = drop(x)\n{between}\n    y = bn(x)\n"
    norm = NormReport("bn", "BatchNorm1d", 0.5, None, (), Site("a.py", 3, 9, 3, 14))
    finding = replace(at(1, 9, 1, 16), norm="bn", delta=0.5)
    drawn = framed(finding, source, models=(ModelReport("a.py:Net", Status.ANALYSED, norms=(norm,)),))
    indent = "    " if between == "z = 1" else ""
    assert drawn[0] == f" 1 │ {indent}x = drop(x)"
    assert drawn[2] == f" 2 │ {between.strip()}".rstrip()


def test_a_call_over_many_lines_shows_its_first() -> None:
    source = "def f():\n    y = drop(\n        x,\n    )\n    return y\n"
    assert framed(at(2, 9, 4, 6), source) == [
        " 2 │ y = drop(",
        "   │     ^^^^^",
        " 3 │     x,",
        "   │     ^^",
        " 4 │ )",
        "   │ ^",
    ]
    long = "drop(\n" + "    x,\n" * 20 + ")\n"
    drawn = framed(at(1, 1, 22, 2), long)
    assert (drawn[0], len(drawn), drawn[-1]) == (" 1 │ drop(", 9, "   ┆")


def test_tabs_and_wide_characters_keep_the_caret_under_its_column() -> None:
    assert framed(at(1, 6, 1, 10), "\ty = drop\n") == [" 1 │ y = drop", "   │     ^^^^"]
    assert framed(at(1, 1, 1, 3), "漢字 = 1\n") == [" 1 │ 漢字 = 1", "   │ ^^^^"]
    assert framed(at(1, 6, 1, 7), "漢字 = 1\n") == [" 1 │ 漢字 = 1", "   │        ^"]


def test_lines_are_those_of_python() -> None:
    """Form feeds and Unicode separators do not end a line, a lone carriage return does."""
    source = "a = 1\x0c\u2028\rb = 2\r\nc = 3\n"
    assert framed(at(3, 1, 3, 2), source) == [" 3 │ c = 3", "   │ ^"]


def test_a_long_line_is_cut_around_the_mark() -> None:
    source = f"y = {'a' * 200} + drop(x) + {'b' * 200}\n"
    drawn = framed(at(1, 208, 1, 215), source, width=60)
    assert "drop(x)" in drawn[0]
    assert drawn[0].index("drop(x)") == drawn[1].index("^^^^^^^")
    assert drawn[0].endswith("…")
    assert "│ …" in drawn[0]


@pytest.mark.parametrize(
    "region", [(99, 1, 99, 2), (2, 1, 2, 5), (1, 50, 1, 60), (1, 1, 1, 1), (1, 3, 1, 1), (1, 1, 99, 1)]
)
def test_a_region_the_file_no_longer_has_is_no_crash(region: tuple[int, int, int, int]) -> None:
    """The file may have been edited since it was read; what exists is shown."""
    drawn = framed(at(*region), "x = 1")
    assert bool(drawn) == (region[0] == 1)


def test_a_file_is_read_once() -> None:
    asked: list[str] = []

    def read_source(path: str) -> str | None:
        asked.append(path)
        return SOURCES.get(path)

    render(FULL, "text", read_source=read_source)
    assert asked == ["nets/stack.py"]


def test_no_frame_where_there_is_no_source() -> None:
    assert framed(replace(at(1, 1, 1, 2), site=None), "x = 1\n") == []
    assert "│" not in render(Report((at(1, 1, 1, 2),)), "text", read_source={}.get)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.text("ab \t(漢é\x1b\u202e", max_size=120),
    st.integers(1, 130),
    st.integers(0, 130),
    st.integers(1, 3),
    st.integers(40, 100),
)
def test_frames_stay_in_their_width(line: str, column: int, length: int, lines: int, width: int) -> None:
    source = "\n".join([line] * 3)
    for row in framed(at(1, column, lines, column + length), source, width=width):
        assert cell_len(row) <= width - 4


@pytest.mark.parametrize("width", [40, 80, 120])
def test_all_but_headings_stay_in_the_width(width: int) -> None:
    """Headings hold paths, which stay whole so that a terminal can follow them."""
    report = replace(FULL, errors=tuple(replace(error, details="") for error in FULL.errors))
    text = render(report, "text", width=width, verbose=True, read_source=SOURCES.get)
    too_wide = [line for line in text.split("\n") if cell_len(line) > width and line.startswith(" ")]
    assert too_wide == []


@pytest.mark.parametrize("width", [-5, 0, 1, 39])
def test_a_terminal_too_narrow_is_treated_as_forty_cells_wide(width: int) -> None:
    assert render(FULL, "text", width=width) == render(FULL, "text", width=40)


@pytest.mark.parametrize(
    ("delta", "shown"), [(0.5, "0.50"), (1.0, "1.00"), (0.0, "0.00"), (0.004, "4.0e-03"), (12.345, "12.35")]
)
def test_deltas_keep_two_digits_that_mean_something(delta: float, shown: str) -> None:
    finding = replace(FINDINGS[1], delta=delta, site=None)
    assert f"Δ = {shown}, evidence prior" in render(Report((finding,)), "text")
    assert f"Δ={shown}]" in render(Report((finding,)), "concise")


def test_what_torch_jit_compiled_is_to_be_linted_before() -> None:
    text = render(Report(models=(replace(MODEL, opaque=("RecursiveScriptModule",)),)), "text", width=200)
    assert "is not understood: RecursiveScriptModule; the norms behind it are not judged; give dropcheck what" in text


def test_a_function_called_in_the_model_itself_is_written_as_a_call() -> None:
    names = ["/dropout", "/dropout_1", "layer/dropout", "layer", ""]
    assert [op_text(name) for name in names] == ["dropout()", "dropout_1()", "layer/dropout", "layer", ""]
    text = render(replace(CLEAN, findings=(replace(FINDINGS[0], op="/dropout"),)), "text")
    assert "noise: dropout() → " in text


def test_a_small_share_is_not_nothing_and_a_large_one_not_all() -> None:
    norm = NormReport("stem.2", "BatchNorm2d", 0.9, None, (Blame("stem.1", 0.997), Blame("d", 0.003)), None)
    text = render(Report(FINDINGS[1:2], (replace(STACK, norms=(norm,)),)), "text", width=200)
    assert "stem.1 >99% + d <1% → stem.2" in text
