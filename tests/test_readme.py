"""The README: what it shows is what the program prints."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dropcheck.config import load_settings
from dropcheck.rules import BUILTIN

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SHOWN = re.compile(r"```console\n\$ (?P<command>[^\n]*)\n(?P<output>.*?)```", re.DOTALL)
TABLE = re.compile(r"(?<=\| code \| name \| finds \|\n\|---\|---\|---\|\n)(\| DC.*\n)*")
COMMANDS = ("lint", "probe", "recalibrate", "stats", "graph", "rules", "explain")
SECONDS = re.compile(r"\(\d+\.\d s\)")


def printed(command: str) -> str:
    """What a command prints at 80 columns, the time it took as the README has it."""
    program, *arguments = shlex.split(command)
    assert program == "dropcheck"
    run = subprocess.run(
        [sys.executable, "-m", "dropcheck", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode in (0, 1), run.stderr
    return SECONDS.sub("(1.9 s)", run.stdout)


def rules_table() -> str:
    return "".join(f"| {rule.code} | {rule.name} | {rule.info().summary} |\n" for rule in BUILTIN)


def test_shown_output_is_real(request: pytest.FixtureRequest) -> None:
    text = README.read_text(encoding="utf-8")
    real = SHOWN.sub(lambda shown: f"```console\n$ {shown['command']}\n{printed(shown['command'])}```", text)
    real = TABLE.sub(rules_table(), real)
    if request.config.getoption("--overwrite"):
        README.write_text(real, encoding="utf-8")
    assert len(SHOWN.findall(text)) == 2
    assert text == real


def test_both_commands_do_all_their_set_up_under_the_constraints() -> None:
    commands = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    lint, test = commands
    assert all("pip install -q -c constraints.txt -e " in command for command in commands)
    assert lint.endswith("&& dropcheck lint examples/conv_bn_relu_dropout.py")
    assert test.endswith("-e '.[test]' && pytest")
    assert test in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_configuration_it_shows_is_valid(tmp_path: Path) -> None:
    shown = re.search(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    (tmp_path / "pyproject.toml").write_text(shown[1], encoding="utf-8")
    (tmp_path / "nets.py").touch()
    settings = load_settings(tmp_path / "pyproject.toml", tmp_path)
    assert (settings.ignore, settings.thresholds.error) == (("DC301",), 1.5)


def test_every_option_and_command_the_readme_names_exists() -> None:
    text = README.read_text(encoding="utf-8")
    help_text = "".join(printed(f"dropcheck {command} --help") for command in COMMANDS)
    assert [option for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) if option not in help_text] == []
