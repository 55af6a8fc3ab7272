"""What [tool.dropcheck] may say, where it is found, and how a mistake in it is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropcheck.config import ConfigError, FailOn, Settings, load_settings
from dropcheck.job import Build
from dropcheck.nearest import suggest
from dropcheck.rule import Severity, Thresholds

FULL = """
select = ["DC1"]
ignore = ["DC102"]
exclude = ["vendored/"]
fail-on = "never"
timeout = 5
thresholds = { error = 2, warning = 1.5 }
per-file-ignores = { "tests/" = ["DC1", "DC301"] }
severity = { DC110 = "info" }
baseline = "ci/known.json"

[[models]]
target = "nets.py:Net"
arguments = "depth=20, p=0.5"
input = "2x3x32x32"
weights = "trained.pt"

[[models]]
target = "nets.py:build"
"""


def written(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / name
    file.write_text(text, encoding="utf-8")
    return file


def test_every_key_is_read(tmp_path: Path) -> None:
    for name in ("nets.py", "trained.pt"):
        written(tmp_path, name, "")
    file = written(tmp_path, "dropcheck.toml", FULL)
    assert load_settings(file, tmp_path) == Settings(
        select=("DC1",),
        ignore=("DC102",),
        exclude=("vendored/",),
        fail_on=FailOn.NEVER,
        timeout=5.0,
        thresholds=Thresholds(error=2.0, warning=1.5),
        per_file_ignores=(("tests/", ("DC1", "DC301")),),
        severity=(("DC110", Severity.INFO),),
        models=(
            (tmp_path / "nets.py", Build("Net", "depth=20, p=0.5", "2x3x32x32", str(tmp_path / "trained.pt"))),
            (tmp_path / "nets.py", Build("build")),
        ),
        baseline=tmp_path / "ci" / "known.json",
        root=tmp_path,
    )


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(None, tmp_path) == Settings()


def test_the_nearest_file_that_speaks_of_dropcheck_counts(tmp_path: Path) -> None:
    written(tmp_path, "pyproject.toml", '[tool.dropcheck]\nselect = ["DC1"]\n')
    written(tmp_path / "package", "pyproject.toml", "[tool.other]\nkey = 1\n")
    inner = tmp_path / "package" / "nets"
    inner.mkdir()
    assert load_settings(None, inner).select == ("DC1",)
    written(tmp_path / "package", "dropcheck.toml", 'select = ["DC3"]\n')
    assert load_settings(None, inner).select == ("DC3",)


def test_dropcheck_toml_comes_before_pyproject_in_one_directory(tmp_path: Path) -> None:
    written(tmp_path, "pyproject.toml", "[tool.dropcheck]\ntimeout = 1\n")
    written(tmp_path, "dropcheck.toml", "timeout = 2\n")
    assert load_settings(None, tmp_path).timeout == 2.0


def test_a_named_file_hides_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "dropcheck.toml", "timeout = 2\n")
    named = written(tmp_path / "ci", "strict.toml", "timeout = 3\n")
    assert load_settings(named, tmp_path).timeout == 3.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('selct = ["DC1"]', "unknown key 'selct'; did you mean 'select'?"),
        ("fail_on = 'error'", "unknown key 'fail_on'; did you mean 'fail-on'?"),
        (
            "colour = 1",
            "unknown key 'colour'; choose from select, ignore, per-file-ignores, severity, thresholds, models, "
            "exclude, fail-on, timeout, baseline",
        ),
        ("select = 'DC1'", "select: expected a list of strings, got 'DC1'"),
        ("ignore = ['DC1', 2]", "ignore: expected a list of strings, got ['DC1', 2]"),
        ("timeout = '60'", "timeout: expected a number, got '60'"),
        ("timeout = true", "timeout: expected a number, got True"),
        ("timeout = 0", "timeout: expected a positive number of seconds, got 0"),
        ("timeout = nan", "timeout: expected a positive number of seconds, got nan"),
        ("fail-on = 'warn'", "fail-on: unknown severity 'warn'; did you mean 'warning'?"),
        ("fail-on = []", "fail-on: unknown severity []; choose from error, warning, info, never"),
        ("thresholds = 1.2", "thresholds: expected a table, got 1.2"),
        ("thresholds = { eror = 2 }", "thresholds: unknown key 'eror'; did you mean 'error'?"),
        ("thresholds = { error = 0.9 }", "thresholds: error: expected a shift ratio, a number from 1 up, got 0.9"),
        ("thresholds = { warning = 3 }", "thresholds: warning (3.0) must not be above error (1.25)"),
        (
            "per-file-ignores = ['DC1']",
            "per-file-ignores: expected a table of file patterns and lists of codes, got ['DC1']",
        ),
        ("per-file-ignores = { 'a.py' = 'DC1' }", "per-file-ignores: 'a.py': expected a list of strings, got 'DC1'"),
        ("severity = 'info'", "severity: expected a table of codes and severities, got 'info'"),
        ("severity = { DC110 = 'off' }", "severity: 'DC110': unknown severity 'off'; choose from error, warning, info"),
        ("baseline = 3", "baseline: expected a text, got 3"),
        (
            "models = { target = 'nets.py:Net' }",
            "models: expected [[tool.dropcheck.models]] tables, got {'target': 'nets.py:Net'}",
        ),
        ("models = [{ arguments = '3' }]", "models: table 1: expected a target, such as nets.py:Net"),
        ("models = [{ targt = 'nets.py:Net' }]", "models: table 1: unknown key 'targt'; did you mean 'target'?"),
        (
            "models = [{ target = 'nets.Net' }]",
            "models: table 1: target: expected file.py:Symbol, without arguments, got 'nets.Net'",
        ),
        (
            "models = [{ target = 'nets.py:Net', arguments = 'depth=n' }]",
            "models: table 1: arguments: argument depth (column 7): n is not a Python literal; for a text write 'n'",
        ),
        (
            "models = [{ target = 'nets.py:Net', input = '2xx3' }]",
            "models: table 1: input: input '2xx3': expected a positive size at column 3, got nothing; "
            "write sizes as in 2x3x32x32 or 2x128:int64",
        ),
    ],
)
def test_a_mistake_is_named_with_its_file_and_what_was_expected(tmp_path: Path, text: str, complaint: str) -> None:
    file = written(tmp_path, "dropcheck.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, tmp_path)
    assert str(caught.value) == f"{file}: {complaint}"


def test_a_model_in_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path, "dropcheck.toml", "models = [{ target = 'nets/none.py:Net' }]\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file, Path("elsewhere"))
    assert str(caught.value) == f"{file}: models: there is no file {tmp_path / 'nets' / 'none.py'}"


def test_a_section_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, "pyproject.toml", "[tool]\ndropcheck = 3\n")
    with pytest.raises(ConfigError, match="expected a table, got 3"):
        load_settings(None, tmp_path)


@pytest.mark.parametrize("content", [b"select = [", b"select = '\xff'"])
def test_a_file_that_is_not_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "dropcheck.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(None, tmp_path)


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "absent.toml", tmp_path)


def test_suggest_prefers_the_nearest_word_and_ignores_case() -> None:
    assert suggest("DC1O2", ["DC112", "DC102"]) == "did you mean 'DC102'?"
    assert suggest("dc1O2", ["DC101", "DC102"]) == "did you mean 'DC102'?"
    assert suggest("xyz", ["text", "json"]) == "choose from text, json"


def test_codes_may_end_with_a_comma() -> None:
    assert Settings().overruled(select=["DC1, DC2,"]).select == ("DC1", "DC2")
