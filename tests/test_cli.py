"""The command line from the user's side: what it answers, where it writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Answer, Command

from dropcheck import __version__
from dropcheck.result import AnalysisError, ErrorKind, ModelReport, Report, Status
from dropcheck.rule import Finding, Rule, Severity
from dropcheck.rules import BUILTIN

HARMFUL = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(width)

    def forward(self, x):
        return self.norm(self.drop(x))
"""
PLAIN = "def area(side):\n    return side**2\n"


def written(**files: str) -> None:
    for name, text in files.items():
        Path(f"{name}.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lnt"], "No such command 'lnt'. Did you mean 'lint'? (see 'dropcheck --help')"),
        (["lint", "--formta", "json"], "No such option: --formta … --format"),
        (["lint", "--format", "jsno"], "Invalid value for '--format': 'jsno'; did you mean 'json'?"),
        (["lint", "--color", "yes"], "'yes'; choose from auto, always, never"),
        (["lint", "--fail-on", "warn"], "'warn'; did you mean 'warning'?"),
        (["lint", "--timeout", "0"], "'--timeout': 0; expected a positive number of seconds"),
        (["lint", "--timeout", "soon"], "'--timeout'"),
        (["lint", "--jobs", "0"], "'--jobs' / '-j'"),
        (["lint", "--input", "2xx3"], "input '2xx3': expected a positive size at column 3"),
        (["lint", "--output", "none/report.json"], "'--output': there is no directory none"),
        (["lint", "--output", "."], "'--output': . is a directory"),
        (["lint", "--config", "absent.toml"], "absent.toml: cannot be read: No such file or directory"),
        (["lint", "--config", "wrong.toml"], "wrong.toml: unknown key 'selct'; did you mean 'select'?"),
        (["lint", "plain.py", "--select", "DC30,DC999"], "no rule's code starts with 'DC999'"),
        (["lint", "plain.py", "--ignore", "dc101"], "starts with 'dc101'; did you mean 'DC101'?"),
        (["lint", "plain.py", "--baseline", "absent.json"], "the baseline absent.json cannot be read: No such file"),
        (["lint", "--baseline", "a", "--write-baseline", "b"], "--baseline reads what --write-baseline writes"),
        (["lint", "--write-baseline", "none/b.json"], "'--write-baseline': there is no directory none"),
        (["lint", "--static", "--input", "2x3", "plain.py"], "nothing is built with --static"),
        (["explain", "DC911"], "there is no rule 'DC911'; did you mean 'DC"),
        (["rules", "--format", "yaml"], "'yaml'; choose from text, json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_answered_in_one_line(command: Command, arguments: list[str], complaint: str) -> None:
    written(plain=PLAIN)
    Path("wrong.toml").write_text("selct = []\n", encoding="utf-8")
    answer = command(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.complaints) == 1
    assert answer.err.startswith("dropcheck: ")
    assert all(part in answer.err for part in complaint.split(" … "))


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("plan.py", "plan.py: config error: no such file or directory (did you mean plain.py?)"),
        ("plain.py:Net(depth=twenty)", "argument depth (column 20): twenty is not a Python literal"),
        ("plain.py:Net(", "does not end with its closing parenthesis"),
        ("notes.txt", "notes.txt: config error: not a Python file"),
    ],
)
def test_a_wrong_target_is_named_and_the_others_are_still_looked_at(
    command: Command, target: str, complaint: str
) -> None:
    written(plain=PLAIN, broken="def area(:\n")
    Path("notes.txt").write_text("notes\n", encoding="utf-8")
    answer = command("lint", "--format", "json", target, "broken.py", "plain.py")
    assert answer.code == 2
    assert complaint in answer.err
    assert "broken.py: syntax error: line 1, column 10: invalid syntax" in answer.err
    assert len(answer.complaints) == 2
    report = json.loads(answer.out)
    assert [error["kind"] for error in report["errors"]] == ["syntax", "config"]
    assert report["summary"]["files"] == 2


def test_a_file_that_does_not_parse_is_a_gap(command: Command) -> None:
    written(broken="class Net(\n")
    answer = command("lint")
    assert answer.code == 3
    assert "broken.py: syntax error: line 1" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("arguments", [[], ["."], ["plain.py"]])
def test_no_model_is_said_and_no_fault(command: Command, arguments: list[str]) -> None:
    written(plain=PLAIN)
    answer = command("lint", "--format", "concise", *arguments)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("dropcheck: No models found in 1 file (")
    text = command("lint", *arguments)
    assert text.out.startswith("No models found in 1 file (")
    assert text.err == ""


def test_without_a_command_the_help_is_shown(command: Command) -> None:
    answer = command()
    assert (answer.code, answer.out) == (2, "")
    assert "Usage: dropcheck" in answer.err
    assert command("--help").out.strip() == answer.err.strip()


def test_the_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version") == Answer(0, f"dropcheck {__version__}\n", "")


def test_rules_are_listed_as_text_and_as_json(command: Command) -> None:
    lines = command("rules").out.splitlines()
    assert [line.split()[:2] for line in lines] == [[rule.code, rule.name] for rule in BUILTIN]
    listed = json.loads(command("rules", "--format", "json").out)
    assert [(rule["code"], rule["help"]) for rule in listed] == [(rule.code, rule.info().help) for rule in BUILTIN]


@pytest.mark.parametrize("rule", BUILTIN, ids=lambda rule: rule.code)
def test_every_rule_is_explained(command: Command, rule: Rule) -> None:
    info = rule.info()
    answer = command("explain", info.code.lower())
    off = "" if rule.on_by_default else f"Off by default: `--select {info.code}` turns it on.\n\n"
    assert answer == Answer(0, f"# {info.code} {info.name}\n\n{off}{info.documentation}\n", "")
    coloured = command("explain", info.code, "--color", "always")
    assert "\x1b[" in coloured.out
    assert "Why is this bad" in coloured.out


def finding(severity: Severity) -> Finding:
    return Finding("DC101", "a-rule", severity, "a fact", "a cure", None, "nets.py:Net", "drop")


def error(kind: ErrorKind) -> AnalysisError:
    return AnalysisError("nets.py", kind, "this went wrong", "try that", details="Traceback (most recent call last)")


MODEL = ModelReport("nets.py:Net", Status.ANALYSED)
SKIPPED = ModelReport("nets.py:Net", Status.SKIPPED, "nobody knows its arguments")
FAILED = ModelReport("nets.py:Net", Status.FAILED, "it raised")
INFO, WARNING, ERROR = map(finding, (Severity.INFO, Severity.WARNING, Severity.ERROR))


@pytest.mark.parametrize(
    ("report", "options", "code"),
    [
        (Report((), (MODEL,)), [], 0),
        (Report((INFO,), (MODEL,)), [], 0),
        (Report((INFO, WARNING), (MODEL,)), [], 1),
        (Report((ERROR,), (MODEL,)), [], 1),
        (Report((WARNING,), (MODEL,)), ["--fail-on", "error"], 0),
        (Report((ERROR,), (MODEL,)), ["--fail-on", "error"], 1),
        (Report((INFO,), (MODEL,)), ["--fail-on", "info"], 1),
        (Report((ERROR,), (MODEL,)), ["--fail-on", "never"], 0),
        (Report((), (MODEL, SKIPPED)), [], 3),
        (Report((), (MODEL, replace(SKIPPED, by_design=True))), [], 0),
        (Report((), (FAILED,)), [], 3),
        (Report((ERROR,), (MODEL,), (error(ErrorKind.IMPORT),)), [], 3),
        (Report((), (MODEL,), (error(ErrorKind.TIMEOUT),)), ["--fail-on", "never"], 3),
        (Report((ERROR,), (FAILED,), (error(ErrorKind.IMPORT), error(ErrorKind.CONFIG))), [], 2),
    ],
)
def test_exit_codes(
    command: Command, monkeypatch: pytest.MonkeyPatch, report: Report, options: list[str], code: int
) -> None:
    monkeypatch.setattr("dropcheck.run.lint_targets", lambda *_, **__: report)
    assert command("lint", *options).code == code


def test_errors_go_to_stderr_and_tracebacks_only_with_verbose(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report((ERROR,), (MODEL,), (error(ErrorKind.IMPORT),))
    monkeypatch.setattr("dropcheck.run.lint_targets", lambda *_, **__: report)
    line = "nets.py: import error: this went wrong (try that)"
    for format in ("text", "concise", "github", "sarif", "json"):
        answer = command("lint", "--format", format)
        assert answer.complaints == [line]
        assert "a fact" in answer.out
    assert command("lint", "--verbose").complaints == [line, "Traceback (most recent call last)"]
    text = command("lint").out
    assert "this went wrong" not in text
    assert "1 failure" in text


def test_the_command_line_wins_over_the_configuration(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text(
        '[tool.dropcheck]\nselect = ["DC1"]\nignore = ["DC110"]\nfail-on = "never"\ntimeout = 7\nexclude = ["old/"]\n',
        encoding="utf-8",
    )
    asked = []
    monkeypatch.setattr("dropcheck.run.lint_targets", lambda targets, settings, **_: asked.append(settings) or Report())
    command("lint")
    command("lint", "--select", "DC101, DC3", "--select", "DC102", "--timeout", "5", "--fail-on", "info")
    file, line = asked
    assert (file.select, file.ignore, file.fail_on, file.timeout) == (("DC1",), ("DC110",), "never", 7.0)
    spoken = replace(file, select=("DC101", "DC3", "DC102"), timeout=5.0, fail_on="info", narrowed=True)
    assert line == spoken


def test_a_fault_of_ours_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Report:
        raise KeyError("lost")

    monkeypatch.setattr("dropcheck.run.lint_targets", fails)
    answer = command("lint")
    assert answer.code == 3
    assert answer.complaints == ["dropcheck: internal error: KeyError: 'lost'; please report it, with --verbose"]
    assert "Traceback" in command("lint", "--verbose").err


def test_a_report_is_written_whole_or_not_at_all(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    written(plain=PLAIN)
    Path("report.json").write_text("old", encoding="utf-8")
    assert command("lint", "plain.py", "--output", "report.json", "--select", "DC999").code == 2
    assert Path("report.json").read_text(encoding="utf-8") == "old"
    answer = command("lint", "plain.py", "--format", "json", "--output", "report.json")
    assert (answer.code, answer.out) == (0, "")
    assert json.loads(Path("report.json").read_text(encoding="utf-8"))["summary"]["files"] == 1

    def full(self: Path, *_: object, **__: object) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    answer = command("lint", "plain.py", "--output", "report.json")
    assert answer.code == 2
    assert answer.complaints[-1] == "dropcheck: report.json: the report cannot be written: No space left on device"
    assert json.loads(Path("report.json").read_text(encoding="utf-8"))["version"] == 1
    assert sorted(os.listdir()) == ["plain.py", "report.json"]


def test_colour_is_for_terminals_or_on_request(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    written(plain=PLAIN)
    assert "\x1b[" not in command("lint").out
    assert "\x1b[" in command("lint", "--color", "always").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[" in command("lint").out
    assert "\x1b[" not in command("lint", "--color", "never").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in command("lint").out


FAULTY = {
    "absent_import": "import no_such_library as lib\nfrom torch import nn\n\nnet = nn.Linear(lib.WIDTH + 2, 2)\n",
    "exits": "import sys\nfrom torch import nn\n\nnet = nn.Linear(2, 2)\nsys.exit(7)\n",
    "raises": """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        raise ValueError("depth is odd")

    def forward(self, x):
        return x
""",
    "needs": """\
from torch import nn


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        with open(config) as file:
            self.layer = nn.Linear(int(file.read()), 2)

    def forward(self, x):
        return self.layer(x)
""",
}


def test_every_bad_file_is_named_and_the_others_are_still_reported(command: Command) -> None:
    written(**FAULTY, plain=PLAIN, good=f"print('said by the linted file')\n{HARMFUL}")
    Path("old").mkdir()
    Path("old/nets.py").write_text(FAULTY["raises"], encoding="utf-8")
    Path("dropcheck.toml").write_text('exclude = ["old/"]\n', encoding="utf-8")
    targets = ["good.py:Nett", "good.py:Net(depth=20)", "good.py:Net(width=4)", "needs.py:Net"]
    answer = command("lint", "--format", "json", "--jobs", "2", ".", *targets)
    assert answer.code == 2
    report = json.loads(answer.out)
    assert [(error["path"], error["kind"]) for error in report["errors"]] == [
        ("absent_import.py", "import"),
        ("exits.py", "import"),
        ("good.py:Net", "config"),
        ("good.py:Nett", "config"),
        ("needs.py:Net", "construct"),
        ("raises.py:Net", "construct"),
    ]
    assert "Traceback" not in answer.err
    said = [line for line in answer.complaints if line != "said by the linted file"]
    for line, error in zip(said, report["errors"], strict=True):
        assert line == f"{error['path']}: {error['kind']} error: {error['message']} ({error['hint']})"
    assert len(said) < len(answer.complaints)
    assert [(found["code"], found["occurrences"]) for found in report["findings"]] == [("DC101", 2), ("DC110", 2)]
    assert [model["arguments"] for model in report["models"] if model["status"] == "analysed"] == ["", "width=4"]
    assert report["summary"]["files"] == 6


def test_a_baseline_holds_from_every_directory_and_says_what_is_gone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(good=HARMFUL)
    Path("sub").mkdir()
    kept = command("lint", "--write-baseline", "known.json")
    assert (kept.code, kept.err) == (0, "dropcheck: 2 findings kept as known in known.json\n")
    assert kept.out.startswith("No findings in 1 model of 1 file, 2 in the baseline (")
    monkeypatch.chdir("sub")
    below = command("lint", "..", "--baseline", "../known.json", "--format", "json")
    assert (below.code, below.err) == (0, "")
    assert json.loads(below.out)["summary"]["suppressed"] == 2
    Path("../good.py").write_text(
        HARMFUL.replace("self.norm(self.drop(x))", "self.drop(self.norm(x))"), encoding="utf-8"
    )
    mended = command("lint", "..", "--baseline", "../known.json")
    assert mended.complaints == [
        "dropcheck: 2 known findings of ../known.json no longer found: DC101 drop in good.py, DC110 drop in good.py; "
        "--write-baseline ../known.json takes them out"
    ]


def test_an_input_that_does_not_fit_is_a_gap_and_its_traceback_is_for_verbose(command: Command) -> None:
    written(good=HARMFUL)
    answer = command("lint", "good.py", "--input", "2x3x9", "--verbose")
    assert answer.code == 3
    assert "good.py:Net: capture error: with --input 2x3x9 forward raised RuntimeError" in answer.err
    assert "Traceback" in answer.err


def test_interrupting_ends_it_at_once_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom torch import nn\n\nprint('importing', flush=True)\ntime.sleep(60)\nnet = nn.Linear(2, 2)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "dropcheck", "lint", "slow.py"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A session of its own stands for the terminal: Ctrl-C there reaches every process of the group.
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "importing\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=10) == ("", "dropcheck: interrupted\n")
    assert process.returncode == 130


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "dropcheck", "explain", "DC101"]
    with open(writing, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
