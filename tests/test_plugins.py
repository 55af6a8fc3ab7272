"""Rules of other packages, really installed, and what becomes of packages that give none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from commands import Command
from linting import net

from dropcheck.choice import choose
from dropcheck.config import Settings
from dropcheck.plugins import known_rules
from dropcheck.rules import BUILTIN

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "1.0"

[project.entry-points."dropcheck.rules"]
{entries}

[tool.setuptools]
py-modules = ["{module}"]
"""

HOUSE = '''\
from dropcheck.rule import Example, Finding, Rule, Severity


class NoDropout(Rule):
    """Dropout is used where the house style forbids it.

    ## Use instead
    Weight decay.
    """

    code = "HOUSE101"
    name = "no-dropout"
    examples = (Example("one", "net = nn.Dropout()"), Example("none", "net = nn.ReLU()"))

    def check(self, subject):
        for node in subject.graph:
            if node.drops:
                yield self.finding(subject, node, Severity.WARNING, f"dropout '{node.path}' is used")


class Crashes(NoDropout):
    """Fails at every model.

    ## Use instead
    Anything else.
    """

    code = "HOUSE102"
    name = "crashes"

    def check(self, subject):
        yield from super().check(subject)
        raise LookupError("no such luck")


class Loud(NoDropout):
    """Advice that nobody asked for.

    ## Use instead
    Silence.
    """

    code = "HOUSE103"
    name = "loud"
    on_by_default = False


several = [Crashes, Loud()]
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which pip has installed the package ``house-rules``."""
    project, target = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("installed")
    entries = 'single = "house_rules:NoDropout"\nseveral = "house_rules:several"'
    (project / "pyproject.toml").write_text(PYPROJECT.format(name="house-rules", module="house_rules", entries=entries))
    (project / "house_rules.py").write_text(HOUSE)
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--no-cache-dir")
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target), str(project)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def run(command: Command, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs a command where the package is installed."""
    monkeypatch.syspath_prepend(str(installed))
    yield command
    sys.modules.pop("house_rules", None)


def test_installed_rules_run_beside_the_built_in_ones(run: Command) -> None:
    Path("nets.py").write_text(net("dropcheck: ignore[DC101, DC110, HOUSE102] -- known to the house"))
    Path("dropcheck.toml").write_text('ignore = ["DC30"]\nseverity = { HOUSE = "error" }\n')
    code, out, _ = run("lint", "nets.py", "--format", "json")
    assert code == 3
    report = json.loads(out)
    assert [(one["code"], one["severity"], one["message"]) for one in report["findings"]] == [
        ("HOUSE101", "error", "dropout 'drop' is used")
    ]
    (error,) = report["errors"]
    assert (error["kind"], error["path"]) == ("internal", "nets.py:Net")
    assert error["message"] == "rule HOUSE102 failed with LookupError: no such luck"
    assert "--ignore HOUSE102" in error["hint"]


@pytest.mark.parametrize(
    ("select", "codes"),
    [
        (["HOUSE"], ["HOUSE101", "HOUSE102"]),
        (["HOUSE10"], ["HOUSE101", "HOUSE102"]),
        (["HOUSE103"], ["HOUSE103"]),
        (["HOUSE", "HOUSE103"], ["HOUSE101", "HOUSE102", "HOUSE103"]),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_rule_that_is_off_is_turned_on_by_its_whole_code(select: list[str], codes: list[str]) -> None:
    assert [rule.code for rule in choose(Settings(select=tuple(select))).rules] == codes
    assert "HOUSE103" not in [rule.code for rule in choose(Settings()).rules]


def test_installed_rules_are_listed_and_explained(run: Command) -> None:
    listed = json.loads(run("rules", "--format", "json")[1])
    own = ["HOUSE101", "HOUSE102", "HOUSE103"]
    assert [one["code"] for one in listed] == [*(rule.code for rule in BUILTIN), *own]
    assert [one["code"] for one in listed if not one["on_by_default"]][-1:] == ["HOUSE103"]
    assert run("rules")[1].endswith("Advice that nobody asked for. (off: --select HOUSE103 turns it on)\n")
    page = run("explain", "house101")[1]
    assert page.startswith(
        "# HOUSE101 no-dropout\n\n## What it does\nDropout is used where the house style forbids it."
    )
    missing = "dropcheck: there is no rule 'HOUSE111'; did you mean 'HOUSE101'?\n"
    assert run("explain", "HOUSE111") == (2, "", missing)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a distribution importable, as pip leaves one behind: the metadata, and a module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, source: str, entries: Sequence[str] = ("RULES",)) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        points = "".join(f"{entry.lower()} = {module}:{entry}\n" for entry in entries)
        (metadata / "entry_points.txt").write_text(f"[dropcheck.rules]\n{points}")

    return make


def rule(code: str, name: object = "a-rule", doc: str = "Finds.\\n\\n## Use instead\\nNothing.") -> str:
    return (
        "from dropcheck.rule import Example, Rule\n"
        f"class Own(Rule):\n    '{doc}'\n    code, name = {code!r}, {name!r}\n"
        "    examples = (Example('a', 'b'), Example('c', 'd'))\n"
    )


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import absent_library", "cannot be used: ModuleNotFoundError: No module named 'absent_library'"),
        ("raise SystemExit(3)", "cannot be used: SystemExit: 3"),
        ("x = 1", "cannot be used: AttributeError: module 'bad_{n}' has no attribute 'RULES'"),
        ("RULES = 3", "3 is no Rule: expected a subclass of dropcheck.rule.Rule, an instance, or several"),
        ("RULES = 'text'", "'text' is no Rule"),
        ("class RULES: pass", "is no Rule"),
        (
            rule("own1") + "RULES = Own",
            "bad_{n}.Own has the code 'own1': expected one to ten capital letters and three",
        ),
        (
            rule("DC101") + "RULES = Own()",
            "has the code DC101, which dropout-before-batchnorm of dropcheck has already",
        ),
        (rule("OWN101", 3) + "RULES = Own()", "has the name 3: expected a text"),
        (rule("OWN101", doc="Nothing said.") + "RULES = [Own]", "ValueError: Own needs a section '## Use instead'"),
        (rule("OWN101") + "RULES = [Own, Own]", "has the code OWN101, which a-rule of bad-{n} has already"),
    ],
)
def test_a_plugin_that_gives_no_rule_is_named(
    plugin: Callable[..., None], request: pytest.FixtureRequest, source: str, complaint: str
) -> None:
    number = str(abs(hash(request.node.name)))
    plugin(f"bad-{number}", source)
    known = known_rules(BUILTIN)
    (error,) = known.errors
    assert complaint.replace("{n}", number) in error.message
    assert (error.path, error.kind) == (f"bad-{number}", "import")
    assert error.hint.endswith("or uninstall it")
    assert {rule.code for rule in BUILTIN} <= known.codes <= {*(rule.code for rule in BUILTIN), "OWN101"}


def test_one_bad_rule_leaves_the_others_of_its_package(plugin: Callable[..., None]) -> None:
    plugin("mixed-rules", rule("OWN201") + "RULES = [3, Own, None]\n")
    known = known_rules(BUILTIN)
    assert known.rules[-1].code == "OWN201"
    assert len(known.errors) == 2
