"""Comments that silence findings, and DC001, which reports those that do not."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import pytest
from counting import calls
from linting import HEAD, NET, Lint, found, lint, net

from dropcheck.config import Settings
from dropcheck.graph import Site
from dropcheck.merge import fingerprinted
from dropcheck.rule import Example, Finding, Severity
from dropcheck.rules.dc001_unused_suppression import UnusedSuppression
from dropcheck.source import Comments, Ignore, comments_in
from dropcheck.source.comments import comments_of, found_comments
from dropcheck.suppress import Silence, apply

__all__ = ["lint"]

ROOT = Path(__file__).parent.parent

BOTH = ["13: DC101", "13: DC110"]
LAYERS = NET.replace("Net", "Part").format(called="{called}", built="{built}")


def quiet(**given: tuple[str, ...]) -> Settings:
    return Settings(per_file_ignores=tuple(given.items()))


@pytest.mark.parametrize(
    ("called", "built", "left"),
    [
        ("", "", BOTH),
        ("dropcheck: ignore", "", []),
        ("dropcheck: ignore[DC101,DC110] -- it is deliberate, see #12", "", []),
        ("dropcheck:ignore[ DC101 , DC110 ]", "", []),
        ("noqa: E501  # dropcheck: ignore[DC110]  # type: ignore", "", ["13: DC101"]),
        ("", "dropcheck: ignore[DC101] -- at the construction", ["13: DC110"]),
        ("dropcheck: ignore[DC101]", "dropcheck: ignore[DC110]", []),
    ],
)
def test_a_comment_at_the_call_or_the_construction_silences(
    lint: Lint, called: str, built: str, left: list[str]
) -> None:
    report = lint({"nets.py": net(called, built)})
    assert found(report) == left
    assert report.suppressed == 2 - len(left)


@pytest.mark.parametrize(
    ("word", "left"), [("ignore-file", []), ("ignore-file[DC110]", ["14: DC101"]), ("ignore-file[DC101, DC110]", [])]
)
@pytest.mark.parametrize("place", ["# dropcheck: {}\n{}", "{1}# dropcheck: {0} -- at the end\n"])
def test_a_comment_for_the_whole_file_may_stand_anywhere_at_the_top_level(
    lint: Lint, place: str, word: str, left: list[str]
) -> None:
    report = lint({"nets.py": place.format(word, net())})
    assert [code[-5:] for code in found(report)] == [code[-5:] for code in left]


def test_other_line_ends_tabs_and_encodings(lint: Lint) -> None:
    text = net("dropcheck: ignore[DC101] -- für immer", "ü").replace("    ", "\t").replace("\n", "\r\n")
    report = lint({"nets.py": f"# -*- coding: latin-1 -*-\r\n{text}".encode("latin-1")})
    assert found(report) == ["14: DC110"]
    assert report.suppressed == 1
    assert comments_of(text.replace("\r\n", "\r"), "nets.py") == comments_of(text, "nets.py") != Comments()


def test_a_comment_on_any_line_of_the_call_counts(lint: Lint) -> None:
    text = net().replace("self.drop(x)", "self.drop(\n            x,  # dropcheck: ignore[DC101]\n        )")
    assert found(lint({"nets.py": text})) == ["13: DC110"]


def test_what_a_text_says_is_no_comment(lint: Lint) -> None:
    text = net().replace("self.drop(x)", 'self.drop(x if "# dropcheck: ignore" else x)')
    assert found(lint({"nets.py": text})) == BOTH


def test_of_several_instances_only_those_built_at_the_comment_are_silenced(lint: Lint) -> None:
    block = (
        "class Block(nn.Module):\n    def __init__(self, drop):\n        super().__init__()\n        self.drop = drop\n"
    )
    block += (
        "        self.bn = nn.BatchNorm1d(8)\n\n    def forward(self, x):\n        return self.bn(self.drop(x))\n\n"
    )
    one, two = "net = nn.Sequential(nn.Linear(8, 8), Block(nn.Dropout(0.3)),{}\n", "    Block(nn.Dropout(0.2)),{}\n)\n"
    text = HEAD + block + one + two
    report = lint({"nets.py": text.format("  # dropcheck: ignore[DC101]", "")}, only="nets.py")
    assert [(one.op, one.occurrences) for one in report.findings] == [("2.drop", 1)]
    assert report.suppressed == 0
    alone, before = report.findings[0].fingerprint, lint({"nets.py": text.format("", "")}).findings[0]
    assert before.occurrences == 2
    assert len(alone) == len(before.fingerprint)
    everything = lint({"nets.py": text.format("  # dropcheck: ignore", "  # dropcheck: ignore")})
    assert (everything.findings, everything.suppressed) == ((), 1)


@pytest.mark.parametrize("example", UnusedSuppression.examples, ids=lambda example: example.title)
def test_example(lint: Lint, example: Example) -> None:
    report = lint({"nets.py": HEAD + example.source})
    lines = [(one.site.line - HEAD.count("\n"), one) for one in report.findings if one.site and one.code == "DC001"]
    assert tuple(f"{line}: {one.severity} {one.message}" for line, one in lines) == example.expect


@pytest.mark.parametrize(
    ("comment", "message", "help"),
    [
        ("ignore", "`ignore` suppresses nothing", "Remove the comment."),
        ("ignore[DC102, DC103]", "`ignore[DC102, DC103]` suppresses nothing", "Remove the comment."),
        (
            "ignore[DC101, DC110, DC1]",
            "`ignore[DC101, DC110, DC1]` names 'DC1', and no rule has that code; DC101 and DC110 suppress nothing",
            "DC1: write whole codes, DC101, DC102, DC103, DC104, DC105, DC110 …",
        ),
        (
            "ignore [DC101]",
            "'[DC101]' after 'ignore' is not understood",
            "Write `# dropcheck: ignore[DC101] -- reason`",
        ),
        ("ignore DC101", "'DC101' after 'ignore' is not understood", "Write `# dropcheck: ignore[DC101] -- reason`"),
        ("ignore[]", "between the brackets of 'ignore' a code is missing", "Write `# dropcheck: ignore[DC101]"),
        ("ignore-file", "ignore-file concerns the whole file", "Move it to the top level of the file"),
        ("Ignore", "'Ignore' is nothing that a comment can ask of dropcheck", "Did you mean 'ignore'?"),
    ],
)
def test_a_comment_of_no_use_is_reported(lint: Lint, comment: str, message: str, help: str) -> None:
    text = HEAD + NET.format(built="", called="").replace(
        "x = F.relu(self.fc1(x))", f"x = self.fc1(x)  # dropcheck: {comment}"
    )
    (one,) = (one for one in lint({"nets.py": text}).findings if one.code == "DC001")
    assert one.message == message
    assert one.help.startswith(help)
    assert (one.site and one.site.line, one.severity, one.op.partition("/")[0]) == (12, "warning", "Net.forward")


IDLE = net().replace("self.fc1(x))", "self.fc1(x))  # dropcheck: ignore[DC102]")
BLIND = """\
class Blind(nn.Module):
    def __init__(self, path):
        super().__init__()
        self.a = open(path)
"""


def unused(lint: Lint, files: dict[str, str], settings: Settings | None = None, **options: bool) -> list[str]:
    return [code for code in found(lint(files, settings, **options)) if code.endswith("DC001")]


class TestUnusedIsOnlySaidWhereItIsKnown:
    def test_everything_is_analysed(self, lint: Lint) -> None:
        assert unused(lint, {"nets.py": IDLE}) == ["12: DC001"]
        assert unused(lint, {"nets.py": IDLE, "other.py": HEAD}) == ["12: DC001"]

    def test_a_model_of_the_file_cannot_be_built(self, lint: Lint) -> None:
        blind = f"{BLIND}\n    def forward(self, x):\n        return self.a(x)\n"
        assert unused(lint, {"nets.py": IDLE + blind}) == []

    def test_a_file_that_uses_it_cannot_be_analysed(self, lint: Lint) -> None:
        assert unused(lint, {"nets.py": IDLE, "user.py": f"from nets import Net\nimport absent\n{NET}"}) == []
        assert unused(lint, {"nets.py": IDLE, "user.py": f"import absent\n{NET}"}) == ["12: DC001"]

    def test_an_operation_is_not_understood(self, lint: Lint) -> None:
        opaque = IDLE.replace("self.fc2(self.bn(x))", "torch.linalg.lu_factor(self.fc2(self.bn(x)))[0]")
        report = lint({"nets.py": opaque})
        assert report.models[0].opaque
        assert not any(code.endswith("DC001") for code in found(report))

    def test_the_rule_did_not_run(self, lint: Lint) -> None:
        assert unused(lint, {"nets.py": IDLE}, Settings(ignore=("DC102",))) == []
        assert unused(lint, {"nets.py": IDLE}, Settings(select=("DC001", "DC102"))) == ["12: DC001"]

    def test_rules_are_chosen_for_this_run_alone(self, lint: Lint) -> None:
        text = IDLE.replace("[DC102]", "")
        assert unused(lint, {"nets.py": text}, Settings(ignore=("DC301",))) == ["12: DC001"]
        assert unused(lint, {"nets.py": text}, Settings().overruled(ignore=["DC301"])) == []

    def test_nothing_is_run(self, lint: Lint) -> None:
        assert unused(lint, {"nets.py": IDLE}, static=True) == []

    def test_only_one_model_is_looked_at(self, lint: Lint) -> None:
        assert found(lint({"nets.py": IDLE}, only="nets.py:Net")) == BOTH

    def test_no_model_meets_the_definition(self, lint: Lint) -> None:
        helper = "def noisy(x):\n    return F.dropout(x, 0.5, True)  # dropcheck: ignore[DC101]\n"
        assert unused(lint, {"nets.py": net(), "noise.py": HEAD + helper}) == []
        assert unused(lint, {"nets.py": net() + "\n\nside = 3  # dropcheck: ignore[DC101]\n"}) == ["17: DC001"]


def test_dc001_itself_is_silenced_by_its_name_only(lint: Lint) -> None:
    assert unused(lint, {"nets.py": IDLE.replace("[DC102]", "[DC102, DC001]")}) == []
    assert unused(lint, {"nets.py": "# dropcheck: ignore-file[DC001]\n" + IDLE}) == []
    assert unused(lint, {"nets.py": IDLE}, Settings(per_file_ignores=(("nets.py", ("DC001",)),))) == []


@pytest.mark.parametrize(
    ("pattern", "silenced"),
    [("nets.py", True), ("*/old/*", True), ("old/", True), ("old/nets.py", False), ("!old/", False), ("!tests/", True)],
)
def test_per_file_ignores_are_patterns_as_in_gitignore(lint: Lint, pattern: str, silenced: bool) -> None:
    settings = Settings(per_file_ignores=((pattern, ("DC10", "DC110")),))
    report = lint({"old/nets.py": net()}, settings)
    assert found(report) == ([] if silenced else BOTH)
    assert report.suppressed == (2 if silenced else 0)


def test_a_finding_in_a_library_is_silenced_where_its_model_is() -> None:
    far = Site("/venv/lib/python3/site-packages/timm/drop.py", 7, 9, 7, 20)
    finding = Finding("DC101", "a-rule", Severity.WARNING, "a fact", "a cure", far, "nets.py:Net", "drop")
    for order, silenced in (
        (Ignore(Site("nets.py", 1, 1, 1, 9), (), True), True),
        (Ignore(Site("nets.py", 7, 1, 7, 9)), False),
    ):
        silence = Silence({"nets.py": Comments((order,))}, elsewhere=lambda path: Comments())
        assert bool(apply(fingerprinted([finding]), silence).gone) is silenced
    beside = Silence({}, (("site-packages/timm/**", ("DC1",)),))
    assert apply(fingerprinted([finding]), beside).gone


def test_lines_without_comments_are_not_taken_apart(tmp_path: Path) -> None:
    line = '    x = {"a": [1, 2, (3, 4)], "b": f(x, y=2)}\n'  # of 25 tokens
    file = tmp_path / "long.py"
    file.write_text("def f(x):\n" + line * 20_000 + "    return x  # dropcheck: ignore[DC101]\n")
    (ignore,) = comments_in(str(file)).ignores
    assert ignore.site.line == 20_002
    assert calls(lambda: comments_in(str(file))) < 5 * 20_000


def test_comments_are_what_the_tokenizer_says() -> None:
    files = [*ROOT.glob("dropcheck/**/*.py"), *ROOT.glob("rules/*.py"), *ROOT.glob("tests/*.py")]
    total = 0
    for file in sorted(files)[::3]:
        text = file.read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        expected = [(one.start[0], one.start[1] + 1, one.string) for one in tokens if one.type == tokenize.COMMENT]
        assert list(found_comments(text)) == expected, file
        total += len(expected)
    assert total > 20


@pytest.mark.parametrize(
    "line",
    [
        r"""x = "\"#no" # c""",
        r"""x = r'\\' # c""",
        '''x = """ " # no """ # c''',
        """x = 'a\\\n# no' # c""",
        """x = f'{y:#x}' # c""",
        """x = '''' # no''' # c""",
        """x = '' # c""",
        """x = '''\\''' # no''' # c""",
    ],
)
def test_strings_of_every_form_hide_what_is_in_them(line: str) -> None:
    assert [comment for _, _, comment in found_comments(line)] == ["# c"]


@pytest.mark.parametrize(
    "text",
    [
        "# dropcheck builds models",
        "# what dropcheck ignores is its own",
        "# write `# dropcheck: ignore`",
        "x = '''# dropcheck: ignor'''",
    ],
)
def test_prose_is_no_order(text: str) -> None:
    assert comments_of(text, "nets.py") == Comments()
