"""``--static``: sources are read, nothing in them is run, and the report says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from linting import HEAD, Lint, found, lint, net

from dropcheck.config import Settings
from dropcheck.report import render
from dropcheck.report.verdict import verdict
from dropcheck.rules import BUILTIN
from dropcheck.source import UsageError

__all__ = ["lint"]

DEADLY = "raise SystemExit('it was imported')\n"
ALWAYS = net().replace("self.drop(x)", "F.dropout(x, 0.5)")


def test_source_rules_run_and_nothing_is_imported(lint: Lint) -> None:
    report = lint({"nets.py": ALWAYS + DEADLY, "clean.py": net() + DEADLY}, static=True)
    assert found(report) == ["8: DC505", "13: DC501"]
    assert (report.errors, report.unanalysed) == ((), ())


def test_comments_for_source_rules_are_judged_and_only_those(lint: Lint) -> None:
    text = ALWAYS.replace("0.5)\n        return", "0.5)  # dropcheck: ignore[DC501]\n        return")
    text = text.replace("0.5)\n        self.bn", "0.5)  # dropcheck: ignore[DC505, DC502, DC101]\n        self.bn")
    report = lint({"nets.py": text}, static=True)
    codes = {rule.code for rule in BUILTIN if rule.reads and not rule.checks}
    assert codes >= {"DC502", "DC505"}
    assert [one.message for one in report.findings] == [
        "DC502 in `ignore[DC505, DC502, DC101]` suppresses nothing",
    ]
    assert report.suppressed == 2


def test_models_are_listed_as_read_and_not_built(lint: Lint) -> None:
    report = lint({"nets.py": net() + "\n\ndef build() -> Net:\n    return Net()\n\n\nmodel = Net(32)\n"}, static=True)
    assert [one.target.partition(":")[2] for one in report.models] == ["Net", "build", "model"]
    assert {(one.status, one.capture, one.reason, one.by_design) for one in report.models} == {
        ("skipped", "source", "not built: --static only reads sources", True)
    }
    assert not report.analysed
    document = json.loads(render(report, "json"))
    assert {(one["status"], one["capture"], one["evidence"]) for one in document["models"]} == {
        ("skipped", "source", None)
    }
    assert document["summary"]["models"] == 0


def test_the_verdict_claims_no_more_than_was_done(lint: Lint) -> None:
    clean = lint({"nets.py": net()}, static=True)
    assert verdict(clean).startswith("No findings in the source of 1 file, nothing was run (")
    assert verdict(lint({"nets.py": ALWAYS}, static=True)).partition(" in ")[2].startswith("the source of 1 file (")


def test_a_file_that_cannot_be_read_is_still_a_gap(lint: Lint) -> None:
    report = lint({"nets.py": "class Net(\n"}, static=True)
    assert [error.kind for error in report.errors] == ["syntax"]


def test_one_symbol_of_a_file(lint: Lint) -> None:
    report = lint(
        {"nets.py": net() + net().replace(HEAD, "").replace("Net", "Other")}, only="nets.py:Other", static=True
    )
    assert [one.target.partition(":")[2] for one in report.models] == ["Other"]


def test_a_module_is_read_in_its_file_and_nothing_imported(lint: Lint) -> None:
    from dropcheck.run import lint_targets

    text = f"{DEADLY}\n{net()}".replace("F.relu(self.fc1(x))", "F.dropout(F.relu(self.fc1(x)))")
    lint({"__init__.py": DEADLY, "inner/nets.py": text}, folder=Path("modules"), static=True)
    report = lint_targets(["modules.inner.nets:Net"], Settings(), static=True)
    assert [(one.code, one.site and one.site.path) for one in report.findings] == [("DC501", "modules/inner/nets.py")]
    assert [one.target for one in report.models] == ["modules/inner/nets.py:Net"]


def test_a_module_would_have_to_be_imported_to_be_found(lint: Lint, monkeypatch: pytest.MonkeyPatch) -> None:
    from dropcheck.run import lint_targets

    Path("package").mkdir()
    Path("package/__init__.py").write_text(DEADLY)
    (error,) = lint_targets(["package.nets:Net"], Settings(), static=True).errors
    assert (error.kind, error.path) == ("config", "package.nets:Net")
    assert error.hint == "name the file, as in package/nets.py"


@pytest.mark.parametrize("given", [{"input": "2x8"}, {"weights": "trained.pt"}])
def test_what_only_a_built_model_needs_is_wrong_usage(given: dict[str, str]) -> None:
    from dropcheck.run import lint_targets

    with pytest.raises(UsageError, match="nothing is built with --static: it takes neither weights nor an input"):
        lint_targets(["nets.py"], Settings(), static=True, **given)
