"""What reaches those who install dropcheck: from a checkout, from a source distribution, and editable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dropcheck import __version__

ROOT = Path(__file__).parent.parent
SHIPPED = ("dropcheck", "rules", "pyproject.toml", "README.md", "LICENSE")

# Run in an interpreter that knows nothing but the standard library and one directory of installed packages.
LOOK = """
import importlib.metadata, importlib.util, json, pathlib, site, sys
site.addsitedir(sys.argv[1])
import dropcheck, dropcheck.rules
root = pathlib.Path(dropcheck.__file__).parent
rules = pathlib.Path(dropcheck.rules.__file__).parent
print(json.dumps({
    "root": str(root),
    "files": sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()),
    "rules": sorted(file.name for file in rules.glob("*.py")),
    "codes": [rule.code for rule in dropcheck.rules.BUILTIN],
    "top_level_rules": importlib.util.find_spec("rules") is not None,
    "version": importlib.metadata.version("dropcheck"),
    "scripts": [script.value for script in importlib.metadata.distribution("dropcheck").entry_points],
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(place: Path, *what: str | Path) -> Path:
    target = place / "installed"
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run("-m", "pip", "install", "--quiet", *offline, "--target", target, *what, cwd=place)
    return target


def build(checkout: Path, place: Path, *options: str) -> Path:
    run("-m", "build", "--no-isolation", *options, "--outdir", place / "built", checkout, cwd=place)
    (wheel,) = (place / "built").glob("*.whl")
    return wheel


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of what a clone holds, so that building leaves nothing behind here."""
    place = tmp_path / "checkout"
    place.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    return place


@pytest.mark.parametrize("way", ["wheel", "sdist", "editable"])
def test_an_installation_is_whole(way: str, checkout: Path, tmp_path: Path) -> None:
    if way == "editable":
        installed = install(tmp_path, "--editable", checkout)
        home = checkout
    else:
        # Without options a source distribution is built first, and the wheel from what that holds.
        wheel = build(checkout, tmp_path, *(["--wheel"] if way == "wheel" else []))
        installed = home = install(tmp_path, wheel)
    seen = json.loads(run("-I", "-S", "-B", "-c", LOOK, installed, cwd=tmp_path))

    ours = {str(file.relative_to(ROOT / "dropcheck")) for file in (ROOT / "dropcheck").rglob("*.py")}
    assert seen["root"] == str(home / "dropcheck")
    assert ours | {"py.typed", "report/schema.json"} <= set(seen["files"])
    assert seen["rules"] == sorted(file.name for file in (ROOT / "rules").glob("*.py"))
    assert seen["codes"] == sorted(file.name[:5].upper() for file in (ROOT / "rules").glob("dc*.py"))
    assert not seen["top_level_rules"]
    assert seen["version"] == __version__
    assert seen["scripts"] == ["dropcheck.cli:main"]
    assert (installed / "bin" / "dropcheck").exists() or (installed / "Scripts" / "dropcheck.exe").exists()
