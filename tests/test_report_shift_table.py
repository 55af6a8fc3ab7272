"""The report of measured shifts, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator
from report_samples import FULL

from dropcheck.graph import Site
from dropcheck.report.shift_table import as_json, as_text, recalibrated_text
from dropcheck.result import ModelReport, Report, Status
from dropcheck.rule import Finding, Severity
from dropcheck.shift import Evidence
from dropcheck.table import MeasuredNorm, MeasuredSource, Moments, ShiftTable

SITE = Site("nets.py", 11, 13, 11, 30)
GOOD = MeasuredNorm(
    "layer1.bn1",
    "BatchNorm2d",
    stored=Moments(2.0, 1.98, 0.004),
    train_var=2.0,
    delta_error=0.01234,
    predicted=1.0,
    evidence=Evidence.WEIGHTS,
    samples=640,
)
BAD = MeasuredNorm(
    "layer1.bn2",
    "BatchNorm2d",
    site=SITE,
    stored=Moments(2.0, 0.8, 0.123),
    train_var=1.9,
    delta_error=0.0021,
    predicted=0.6,
    evidence=Evidence.WEIGHTS,
    sources=(MeasuredSource("layer1.drop", 0.996, 0.99, SITE), MeasuredSource("stem[bold]", 0.004, 0.5)),
    samples=640,
    remark="1 of 8 channels have no finite statistics and are left out",
)
UNKNOWN = MeasuredNorm("aux.bn", "BatchNorm1d", remark="no forward reached it")
TABLE = ShiftTable((GOOD, BAD, UNKNOWN), 10, 640, "cpu", "digits.npz", notes=("1 sample held NaN and was left out",))
FINDING = Finding(
    code="DC101",
    name="dropout-before-batchnorm",
    severity=Severity.ERROR,
    message="message",
    help="help",
    site=SITE,
    model="nets.py:Net",
    op="layer1.drop",
    norm="layer1.bn2",
    delta=0.6,
    evidence=Evidence.WEIGHTS,
)
MODEL = ModelReport("nets.py:Net", Status.ANALYSED, arguments="width=8", weights="w.pt", evidence=Evidence.MEASURED)
REPORT = Report((FINDING,), (MODEL,), files=1)
PROBED = """\
nets.py:Net(width=8) with w.pt, measured on digits.npz (640 samples in 10
batches on cpu)

              predicted Δ                   shift    mean
 batch norm     (weights)      measured Δ   ratio   shift   dropouts to blame
 ──────────────────────────────────────────────────────────────────────────────
 layer1.bn1          1.00     0.99 ± 0.01    1.01    0.00
 layer1.bn2          0.60   0.421 ± 0.002    2.50    0.12   layer1.drop >99%,
                                                            stem[bold] <1%
 aux.bn                 –               –       –       –

layer1.bn2: 1 of 8 channels have no finite statistics and are left out
aux.bn: no forward reached it
"""


def paragraphs(text: str) -> list[str]:
    return [" ".join(block.split()) for block in text.split("\n\n")]


def test_the_table_stands_within_80_columns() -> None:
    text = as_text(REPORT, TABLE)
    assert text.startswith(PROBED)
    assert max(map(len, text.splitlines())) <= 80


def test_findings_have_their_measured_shift_beside_the_predicted_one() -> None:
    expected = (
        "Findings of lint, predicted and measured: nets.py:11:13 DC101 error layer1.drop → layer1.bn2: "
        "predicted Δ 0.60 (weights), measured 0.421 ± 0.002"
    )
    assert expected in paragraphs(as_text(REPORT, TABLE))


def test_what_one_dropout_does_alone_is_not_held_against_what_all_do() -> None:
    text = as_text(replace(REPORT, findings=(replace(FINDING, delta=0.75),)), TABLE)
    assert "predicted Δ 0.60 (weights, 0.75 by it alone), measured 0.421 ± 0.002" in " ".join(text.split())


def test_predictions_that_were_off_are_named() -> None:
    end = paragraphs(as_text(REPORT, TABLE))[-1]
    assert end == (
        "Off by more than 10%, 1 of 2 predictions: layer1.bn2 by 42% (0.60, not 0.42) "
        "Worst of 3 batch norms: layer1.bn2, Δ 0.42, shift ratio 2.50."
    )
    right = replace(TABLE, norms=(GOOD,))
    assert "The one prediction within 10% of what was measured." in as_text(REPORT, right)


def test_of_synthetic_noise_no_prediction_is_called_wrong() -> None:
    text = as_text(REPORT, replace(TABLE, data="synthetic smooth noise"))
    assert "Off by more" not in text
    assert "(640 samples in 10 batches on cpu)" in " ".join(text.split())


def test_a_finding_without_a_shift_or_a_norm_has_no_numbers() -> None:
    other = replace(FINDING, norm=None, delta=None, evidence=None, site=None)
    assert "<no source> DC101 error layer1.drop\n" in as_text(replace(REPORT, findings=(other,)), TABLE)


def test_a_remark_about_many_norms_is_told_once() -> None:
    many = tuple(replace(UNKNOWN, name=f"bn{number}") for number in range(100))
    assert "bn0, bn1, bn2, bn3 and 96 more: no forward reached it\n" in as_text(REPORT, replace(TABLE, norms=many))


def test_notes_and_remarks_are_told() -> None:
    assert "note: 1 sample held NaN and was left out" in as_text(REPORT, TABLE)


def test_an_interrupted_run_says_so_first() -> None:
    assert as_text(REPORT, replace(TABLE, complete=False)).startswith("Interrupted, so far: nets.py:Net")


def test_processes_and_autocast_are_named() -> None:
    text = as_text(REPORT, replace(TABLE, processes=4, device="cuda:0", amp=True))
    assert "(640 samples in 10 batches on cuda:0 with autocast by 4 processes)" in " ".join(text.split())


def test_what_could_not_be_captured_is_shown_without_predictions() -> None:
    failed = replace(MODEL, status=Status.FAILED, reason="no", evidence=None)
    bare = replace(TABLE, norms=tuple(replace(one, predicted=None, evidence=None) for one in TABLE))
    text = as_text(Report((), (failed,)), bare)
    assert text.startswith("nets.py:Net(width=8) with w.pt, measured")
    assert "predicted Δ\n" not in text
    assert "Off by" not in text


def test_an_infinite_ratio_and_no_shift_at_all() -> None:
    dead = MeasuredNorm("bn", "BatchNorm1d", stored=Moments(1.0, 0.0, 0.1), train_var=1.0)
    assert " bn " in (text := as_text(REPORT, replace(TABLE, norms=(dead,))))
    assert "∞" in text
    assert as_text(REPORT, replace(TABLE, norms=(UNKNOWN,))).endswith("No shift could be measured.\n")


def test_colours_only_where_wanted() -> None:
    assert "\x1b[" not in as_text(REPORT, TABLE)
    assert "\x1b[" in as_text(REPORT, TABLE, color=True)


@pytest.mark.parametrize("name", ["a\x1b[31m", "line\nbreak", "[/red]"])
def test_names_cannot_draw_on_the_terminal(name: str) -> None:
    text = as_text(REPORT, replace(TABLE, norms=(replace(BAD, name=name),)))
    assert "\x1b" not in text
    assert "line\nbreak" not in text


def test_recalibration_is_told_before_and_after() -> None:
    fixed = replace(TABLE, norms=(replace(BAD, after=Moments(0.8, 0.804, 0.001), remark=None),), notes=())
    text = recalibrated_text(fixed, "w.pt", "new.pt")
    assert text.startswith("w.pt recalibrated on digits.npz (640 samples in 10 batches on cpu): written to\nnew.pt\n")
    assert next(line.split() for line in text.splitlines() if "bn2" in line) == [
        "layer1.bn2",
        "0.40",
        "1.00",
        "0.12",
        "0.00",
    ]


def test_an_interrupted_recalibration_says_that_nothing_was_written() -> None:
    text = recalibrated_text(replace(TABLE, complete=False), "w.pt", None)
    assert "interrupted, and nothing was written" in " ".join(text.split())
    assert "after" not in text


def test_json_is_that_of_lint_and_the_table() -> None:
    schema = json.loads(files("dropcheck.report").joinpath("schema.json").read_text(encoding="utf-8"))
    for report in (REPORT, FULL):
        document = json.loads(as_json(report, TABLE))
        Draft202012Validator(schema).validate(document)
        assert document["measurement"] == json.loads(TABLE.to_json())
    assert [norm["delta"] for norm in document["measurement"]["norms"]] == [0.99, pytest.approx(0.42105263), None]
    assert json.loads(as_json(REPORT, None))["measurement"] is None
