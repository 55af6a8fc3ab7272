"""The rules that read sources, on model files as people write them: every planted fault with its line, nothing else."""

from __future__ import annotations

import pytest
import source_cases
import source_cases_layers
import source_cases_masks
import source_cases_models

from dropcheck.rule import Rule
from dropcheck.rules.dc501_functional_dropout_always_on import FunctionalDropoutAlwaysOn
from dropcheck.rules.dc502_dropout_built_in_forward import DropoutBuiltInForward
from dropcheck.rules.dc503_attention_dropout_always_on import AttentionDropoutAlwaysOn
from dropcheck.rules.dc504_mc_dropout_by_train import McDropoutByTrain
from dropcheck.rules.dc505_unused_dropout import UnusedDropout
from dropcheck.rules.dc506_unregistered_dropout import UnregisteredDropout
from dropcheck.syntax import SourceFile

SUITES: list[tuple[Rule, dict[str, str]]] = [
    (FunctionalDropoutAlwaysOn(), source_cases.FUNCTIONAL),
    (FunctionalDropoutAlwaysOn(), source_cases_masks.MASKS),
    (DropoutBuiltInForward(), source_cases_masks.BUILT),
    (AttentionDropoutAlwaysOn(), source_cases_models.ATTENTION),
    (McDropoutByTrain(), source_cases_models.MONTE_CARLO),
    (UnusedDropout(), source_cases_layers.UNUSED),
    (UnregisteredDropout(), source_cases_layers.UNREGISTERED),
]
HEADER = "import torch; from torch import nn; import torch.nn.functional as F"


@pytest.mark.parametrize(
    ("rule", "source"),
    [pytest.param(rule, text, id=f"{rule.code}: {title}") for rule, suite in SUITES for title, text in suite.items()],
)
def test_finds_the_marked_lines_and_no_other(rule: Rule, source: str) -> None:
    text = HEADER + source
    marked = [number for number, line in enumerate(text.splitlines(), start=1) if line.endswith("#!")]
    found = sorted(one.site.line for one in rule.read(SourceFile("net.py", text)) if one.site is not None)
    assert found == marked


@pytest.mark.parametrize(("rule", "suite"), SUITES, ids=lambda each: getattr(each, "code", ""))
def test_titles_say_what_is_a_near_miss(rule: Rule, suite: dict[str, str]) -> None:
    silent = [title for title, text in suite.items() if "#!" not in text]
    assert silent == [title for title in suite if title.startswith("ok: ")]
    assert len(silent) >= 5
    assert len(suite) - len(silent) >= 5
