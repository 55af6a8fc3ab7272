"""Alike failures told once: on stderr, and in the text report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_samples import CLEAN, FINDINGS

from dropcheck.report import render
from dropcheck.report.alike import cause, error_lines
from dropcheck.result import AnalysisError, ErrorKind, ModelReport, Report, Status

MISSING = "importing it failed: ModuleNotFoundError: No module named 'dgl'"
INSTALL = "install 'dgl' into the environment dropcheck runs in"


def failures(count: int) -> list[AnalysisError]:
    """Files that all fail for want of a package, each in a line of its own."""
    return [
        AnalysisError(f"nets/n{number}.py", ErrorKind.IMPORT, f"{MISSING} (n{number}.py, line {number})", INSTALL)
        for number in range(count)
    ]


def skipped(count: int, message: str = "forward raised ValueError: odd") -> Report:
    models = tuple(
        ModelReport(
            f"a.py:N{number}",
            Status.SKIPPED,
            f"{message} with the guessed arguments a={number}; give them: dropcheck lint 'a.py:N{number}(a={number})'",
            arguments=f"a={number}",
        )
        for number in range(count)
    )
    return Report(models=(*CLEAN.models, *models))


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("importing it failed: ImportError: x (nets.py, line 3)", "importing it failed: ImportError: x"),
        (
            "forward raised AssertionError: with the guessed arguments a=1; give them: b",
            "forward raised AssertionError",
        ),
        ("no value is known for argument a (it reads a.b)", "no value is known for argument a (it reads a.b)"),
        ("constructing Net failed: KeyError: 3", "constructing it failed: KeyError: 3"),
        ("", ""),
    ],
)
def test_the_cause_knows_neither_lines_nor_arguments_nor_remedies(reason: str, said: str) -> None:
    assert cause(reason) == said


def test_a_few_failures_are_told_one_by_one() -> None:
    assert list(error_lines(failures(2))) == [
        f"nets/n0.py: import error: {MISSING} (n0.py, line 0) ({INSTALL})",
        f"nets/n1.py: import error: {MISSING} (n1.py, line 1) ({INSTALL})",
    ]


def test_many_failures_of_one_cause_are_told_once_at_the_first() -> None:
    other = AnalysisError("nets/odd.py", ErrorKind.SYNTAX, "line 1: no Python", "")
    first, *rest = failures(4)
    assert list(error_lines([first, other, *rest])) == [
        f"4 files: import error: {MISSING} ({INSTALL})",
        *(f"  nets/n{number}.py" for number in range(4)),
        "nets/odd.py: syntax error: line 1: no Python",
    ]


def test_one_cause_of_two_kinds_is_two() -> None:
    alike = failures(3)
    others = [AnalysisError(f"{one.path}:Net", ErrorKind.CAPTURE, MISSING, "") for one in alike]
    heads = [line for line in error_lines([*alike, *others]) if not line.startswith(" ")]
    assert heads == [f"3 files: import error: {MISSING} ({INSTALL})", f"3 models: capture error: {MISSING}"]


@pytest.mark.parametrize(("count", "shown", "more"), [(7, 7, []), (8, 6, ["and 2 more; --verbose names them all"])])
def test_of_very_many_only_the_first_are_named(count: int, shown: int, more: list[str]) -> None:
    _, *lines = error_lines(failures(count))
    assert lines == [*(f"  nets/n{number}.py" for number in range(shown)), *(f"  {line}" for line in more)]


def test_paths_cannot_act_on_the_terminal() -> None:
    errors = [AnalysisError(f"\x1b[2J{number}.py", ErrorKind.IMPORT, MISSING, "") for number in range(3)]
    assert "\x1b" not in "".join(error_lines(errors))
    models = tuple(ModelReport(f"\x1b[2J.py:N{number}", Status.SKIPPED, "odd") for number in range(3))
    assert "\x1b" not in render(Report(models=models), "text")


def test_models_skipped_for_one_cause_are_one_paragraph() -> None:
    text = render(skipped(3), "text", width=200)
    assert text.startswith(
        "3 models skipped: forward raised ValueError: odd\n"
        "  a.py:N0(a=0)\n"
        "  a.py:N1(a=1)\n"
        "  a.py:N2(a=2)\n"
        "  help:  give them: dropcheck lint 'a.py:N0(a=0)'\n\n"
    )
    assert "3 models skipped" in text.rsplit("\n\n", 1)[-1]


def test_verbose_names_every_model_left_out() -> None:
    short, long = (render(skipped(20), "text", verbose=verbose) for verbose in (False, True))
    assert "  and 14 more; --verbose names them all\n" in short
    assert [f"a.py:N{number}(a={number})" in long for number in range(20)] == [True] * 20


def test_a_skipped_model_says_its_arguments_once() -> None:
    assert render(skipped(1), "text").count("a=0") == 2  # the guess, and the line to write
    model = ModelReport("a.py:N", Status.FAILED, "ValueError: odd", arguments="a=3")
    assert "  built: N(a=3)\n" in render(Report(models=(model,)), "text")


def test_failed_and_skipped_are_not_mixed() -> None:
    models = tuple(
        ModelReport(f"a.py:N{number}", status, "odd")
        for number in range(3)
        for status in (Status.FAILED, Status.SKIPPED)
    )
    text = render(Report(models=models), "text")
    assert "3 models failed: odd\n" in text
    assert "3 models skipped: odd\n" in text
    assert "skipped" not in render(Report(models=models), "text", quiet=True)


def test_models_with_the_same_unknown_operation_are_one_paragraph() -> None:
    models = tuple(ModelReport(f"a.py:N{number}", Status.ANALYSED, opaque=("lib.scan",)) for number in range(3))
    assert render(Report(models=models), "text", width=200).startswith(
        "3 models incomplete: in each, 1 operation is not understood: lib.scan; the norms behind it are not judged\n"
        "  a.py:N0\n  a.py:N1\n  a.py:N2\n\n"
    )


def test_notes_of_one_kind_are_one_paragraph() -> None:
    model = replace(CLEAN.models[0], reason="imported without dgl, which it did not need")
    models = tuple(replace(model, target=f"a.py:N{number}") for number in range(3))
    text = render(Report(models=models), "text")
    assert text.startswith(
        "3 models note: imported without dgl, which it did not need\n  a.py:N0\n  a.py:N1\n  a.py:N2\n"
    )
    assert "a.py:N1: note: imported without dgl" in render(Report(models=models), "concise")


def test_packages_that_were_not_needed_are_named_when_everything_is() -> None:
    report = Report(models=(replace(CLEAN.models[0], without=("dgl", "tqdm")),))
    assert "lacks: dgl, tqdm, which it does not need\n" in render(report, "text", verbose=True)
    assert "dgl" not in render(report, "text") + render(report, "concise") + render(report, "json")


def test_the_same_help_is_given_once() -> None:
    findings = tuple(replace(FINDINGS[1], model=f"nets/stack.py:N{number}", site=None) for number in range(3))
    text = render(Report(findings), "text")
    assert text.count(findings[0].help) == 1
    assert text.count("  help:  as above\n") == 2
    assert "as above" not in render(Report((*FINDINGS[:2], FINDINGS[3])), "text")
