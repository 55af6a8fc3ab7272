"""What the configuration and comments settle by hand: how models are built, what findings count, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from linting import HEAD, Lint, found, lint, net

from dropcheck.choice import choose
from dropcheck.config import Settings, load_settings
from dropcheck.job import Build
from dropcheck.result import Report, Status
from dropcheck.rule import Severity
from dropcheck.source import Comments, UsageError
from dropcheck.source.comments import comments_of

__all__ = ["lint"]

NEEDS = f"""{HEAD}
class Block(nn.Module):
    def __init__(self, sizes, drop):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(sizes[0], sizes[1]), nn.Dropout(drop), nn.BatchNorm1d(sizes[1]))

    def forward(self, x):
        return self.layers(x)


class Needs(nn.Module):
    def __init__(self, plan, drop):
        super().__init__()
        self.block = Block([plan["in"], plan["out"]], drop)

    def forward(self, x):
        return self.block(x)
"""


def models(report: Report) -> list[tuple[str, str, str | None, str | None]]:
    whole = (one for one in report.models if not one.by_design)
    return [(one.target.partition(":")[2], one.status, one.arguments, one.input) for one in whole]


@pytest.mark.parametrize(
    ("comment", "build"),
    [
        ("build Net", Build("Net", said="nets.py:1")),
        ("build Net()", Build("Net", "", said="nets.py:1")),
        ("build Net.small(3) input 2x3", Build("Net.small", "3", "2x3", said="nets.py:1")),
        (
            "build Net([8, (1, 2)], s='a)b(', t=')') -- (why)",
            Build("Net", "[8, (1, 2)], s='a)b(', t=')'", said="nets.py:1"),
        ),
        ("build Net(1) input 2x3:int64, 4 -- both", Build("Net", "1", "2x3:int64, 4", said="nets.py:1")),
    ],
)
def test_a_build_comment_names_a_symbol_its_arguments_and_an_input(comment: str, build: Build) -> None:
    assert comments_of(f"# dropcheck: {comment}", "nets.py") == Comments(builds=(build,))


@pytest.mark.parametrize(
    ("comment", "message", "help"),
    [
        ("build", "'build' names no class or function", "Write `# dropcheck: build Net([8, 16, 2]"),
        ("build 3", "'build' names no class or function", "Write"),
        ("build Net(width)", "argument 1 (column 1): width is not a Python literal", "For a text write 'width'"),
        ("build Net(3", "the call does not end with its closing parenthesis", "Write"),
        ("build Net(3) 2x3", "'2x3' after the call is not understood", "Write"),
        (
            "build Net(3) input 2xx3",
            "input '2xx3': expected a positive size at column 3, got nothing",
            "Write sizes as in",
        ),
    ],
)
def test_a_build_comment_that_is_wrong_is_an_error_of_its_file(
    lint: Lint, comment: str, message: str, help: str
) -> None:
    (error,) = lint({"nets.py": f"side = 1  # dropcheck: {comment}\n"}).errors
    assert (error.kind, error.message, error.path.endswith("/nets.py")) == ("config", f"line 1: {message}", True)
    assert error.hint.startswith(help)


def test_a_comment_settles_the_arguments_that_are_guessed_without_it(lint: Lint) -> None:
    assert models(lint({"nets.py": NEEDS}))[0][2] == "plan={'in': 64, 'out': 16}, drop=0.1"
    comments = "# dropcheck: build Needs({'in': 4, 'out': 8}, 0.1) input 2x4\n"
    comments += "# dropcheck: build Needs({'in': 5, 'out': 6}, 0.5)\n"
    report = lint({"nets.py": comments + NEEDS})
    assert models(report) == [
        ("Needs", "analysed", "{'in': 4, 'out': 8}, 0.1", "2x4"),
        ("Needs", "analysed", "{'in': 5, 'out': 6}, 0.5", "2x5"),
    ]
    assert (report.unanalysed, report.errors) == ((), ())
    assert [(one.code, one.occurrences) for one in report.findings if one.code == "DC101"] == [("DC101", 2)]


def test_a_comment_settles_a_target_named_without_a_call(lint: Lint) -> None:
    text = "# dropcheck: build Needs({'in': 4, 'out': 8}, 0.1)\n" + NEEDS
    assert models(lint({"nets.py": text}, only="nets.py:Needs"))[0][2] == "{'in': 4, 'out': 8}, 0.1"
    assert models(lint({"nets.py": text}, only="nets.py:Needs({'in': 2, 'out': 3}, 0.2)"))[0][3] == "2x2"


def test_a_settled_model_that_is_not_there_or_does_not_build_is_an_error(lint: Lint) -> None:
    report = lint(
        {"nets.py": "# dropcheck: build Neds({'in': 4, 'out': 8}, 0.1)\n# dropcheck: build Needs({}, 1)\n" + NEEDS}
    )
    absent, failing = report.errors
    assert absent.message.endswith(
        "/nets.py has no 'Neds', which " + absent.path.removesuffix(":Neds") + ":1 says how to build"
    )
    assert (absent.kind, absent.hint) == ("config", "did you mean 'Needs'?")
    assert (failing.kind, failing.message.startswith("constructing Needs failed: KeyError: 'in'")) == (
        "construct",
        True,
    )
    assert [one.status for one in report.unanalysed] == [Status.FAILED, Status.FAILED]


def test_the_configuration_settles_models_relative_to_its_file(lint: Lint) -> None:
    Path("settled").mkdir()
    Path("settled/dropcheck.toml").write_text(
        "[[models]]\ntarget = 'nets.py:Needs'\narguments = \"{'in': 4, 'out': 8}, drop=0.5\"\ninput = '3x4'\n"
    )
    Path("settled/nets.py").write_text(NEEDS)
    settings = load_settings(None, Path("settled").absolute())
    report = lint({}, settings, folder=Path("settled"))
    assert models(report) == [("Needs", "analysed", "{'in': 4, 'out': 8}, drop=0.5", "3x4")]


def test_severities_are_set_by_prefix_the_longest_first(lint: Lint) -> None:
    settings = Settings(severity=(("DC1", Severity.INFO), ("DC110", Severity.ERROR)))
    report = lint({"nets.py": net()}, settings)
    assert [(one.code, one.severity) for one in report.findings] == [("DC101", "info"), ("DC110", "error")]


def test_patterns_of_files_are_relative_to_the_configuration(lint: Lint) -> None:
    settings = Settings(exclude=("old/nets.py",), root=Path.cwd() / "excluded")
    report = lint({"old/nets.py": net(), "new/old/nets.py": net()}, settings, folder=Path("excluded"))
    assert {one.target for one in report.models} == {"excluded/new/old/nets.py:Net"}
    ignored = Settings(per_file_ignores=(("old/*", ("DC1",)),), root=Path.cwd() / "excluded")
    report = lint({}, ignored, folder=Path("excluded"))
    assert found(report) == ["13: DC101", "13: DC110"]
    assert report.suppressed == 2


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (Settings(ignore=("DC1O1",)), "no rule's code starts with 'DC1O1'; did you mean 'DC101'?"),
        (
            Settings(per_file_ignores=(("a.py", ("DC101", "DC999")),)),
            "per-file-ignores: 'a.py': no rule's code starts with 'DC999'",
        ),
        (Settings(severity=(("DC11O", Severity.INFO),)), "severity: no rule's code starts with 'DC11O'; did you mean"),
    ],
)
def test_a_code_of_no_rule_is_an_error_that_names_its_key(settings: Settings, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(settings)
    assert str(caught.value).startswith(complaint)
