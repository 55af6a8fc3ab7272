"""The rooms of the package and which way data may flow between them; what must not import torch."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = frozenset({"torch", "numpy", "networkx", "typer", "rich", "libcst", "matplotlib"})

# Room: the rooms it may import, and which of the heavy libraries. Whatever lacks torch here runs in the main process.
MAY_IMPORT: dict[str, set[str]] = {
    "": {"api", "measure.api", "result", "rule", "table"},
    "ops": set(),
    "node": {"ops"},
    "flow": {"networkx"},
    "noise": {"node", "ops"},
    "graph": {"flow", "node", "noise", "ops"},
    "shift.closed_forms": set(),
    "shift": {"graph", "ops", "shift.closed_forms"},
    "rule": {"graph", "shift"},
    "encounter": {"graph", "ops", "rule", "shift"},
    "branches": {"graph", "ops"},
    "relocation": {"branches", "encounter", "graph", "ops", "rule", "shift"},
    "rules": {"branches", "encounter", "graph", "ops", "relocation", "rule", "shift", "shift.closed_forms", "syntax"},
    "syntax": {"graph", "libcst"},
    "table": {"graph", "report", "rule", "shift"},
    "measure": {"capture", "graph", "ops", "shift", "simulate", "table", "torch"},
    "measure.api": {"capture", "load", "measure", "shift", "table", "torch"},
    "testing": {"graph", "measure", "measure.api", "rule", "table", "torch"},
    "result": {"graph", "report", "rule", "shift"},
    "report": {"", "graph", "output", "result", "rule", "shift", "table", "rich", "matplotlib"},
    "diagram": {"graph", "ops", "report", "rule", "shift", "rich"},
    "job": {"graph", "result", "shift", "table"},
    "wire": {"graph", "job"},
    "nearest": set(),
    "output": set(),
    "config": {"config_keys", "job", "rule"},
    "config_keys": {"job", "nearest", "rule", "source"},
    "source": {"graph", "job", "nearest", "result"},
    "merge": {"rule", "shift"},
    "suppress": {"graph", "merge", "rule", "source"},
    "unused": {"graph", "merge", "nearest", "result", "rule", "source", "suppress"},
    "engine": {"graph", "job", "merge", "nearest", "ops", "result", "rule", "shift", "suppress", "unused"},
    "reading": {"engine", "graph", "ops", "result", "rule", "source", "syntax"},
    "worker": {"job", "result", "wire", "worker.server", "table"},
    "worker.server": {"worker", "worker.child", "job", "load", "result", "torch"},
    "worker.child": {"worker", "load", "result", "torch", "job", "table"},
    "plugins": {"result", "rule"},
    "baseline": {"", "merge", "output", "result", "rule", "source"},
    "choice": {"config", "engine", "plugins", "result", "rule", "rules", "source", "suppress"},
    "items": {"config", "job", "result", "source"},
    "parts": {"engine", "items", "job", "result"},
    "switched": {"engine", "job", "rule"},
    "run": {"choice", "config", "engine", "flow", "items", "job", "parts", "reading", "result", "rule", "source"}
    | {"switched", "worker"},
    "cli": {"", "diagram", "baseline", "config", "job", "measuring", "nearest", "output", "plugins", "report", "result"}
    | {"rule", "rules", "run", "source", "table", "rich", "typer"},
    "measuring": {"choice", "config", "engine", "items", "job", "result", "run", "shift", "source", "table", "worker"},
    "__main__": {"cli"},
    "capture": {"graph", "ops", "torch"},
    "simulate": {"capture", "graph", "ops", "shift", "torch"},
    "load": {"capture", "graph", "job", "measure", "nearest", "simulate", "ops", "result", "shift", "source", "table"}
    | {"numpy", "torch"},
    "api": {"choice", "config", "engine", "load", "result", "rule", "rules", "run", "source", "torch"},
}


def room_of(name: str) -> str:
    """``dropcheck.report.text.render`` → ``report``; the package itself is ``""``."""
    inner = name.removeprefix("dropcheck").removeprefix(".")
    longest = (room for room in sorted(MAY_IMPORT, key=len, reverse=True) if f"{inner}.".startswith(f"{room}."))
    top = inner.partition(".")[0]
    return next(longest, top if (ROOT / "dropcheck" / top).with_suffix(".py").exists() else "")


def modules() -> Iterator[tuple[str, Path]]:
    for top, prefix in ((ROOT / "dropcheck", "dropcheck"), (ROOT / "rules", "dropcheck.rules")):
        for file in sorted(top.rglob("*.py")):
            parts = file.relative_to(top).with_suffix("").parts
            yield ".".join((prefix, *(part for part in parts if part != "__init__"))), file


def imports_of(module: str, file: Path) -> Iterator[str]:
    """Dotted names of everything imported anywhere in the file, imports for type checkers excepted."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def rooms_imported(module: str, file: Path) -> set[str]:
    names = set(imports_of(module, file))
    ours = {room_of(name) for name in names if name.partition(".")[0] == "dropcheck"}
    return ours | ({name.partition(".")[0] for name in names} & HEAVY)


@pytest.mark.parametrize(("module", "file"), [pytest.param(*each, id=each[0]) for each in modules()])
def test_imports_follow_the_arrows(module: str, file: Path) -> None:
    room = room_of(module)
    assert room in MAY_IMPORT, f"say in MAY_IMPORT what {module} may import"
    assert rooms_imported(module, file) - {room} <= MAY_IMPORT[room]


def test_every_room_exists() -> None:
    assert MAY_IMPORT.keys() <= {room_of(module) for module, _ in modules()}


def test_no_import_escapes(tmp_path: Path) -> None:
    file = tmp_path / "text.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import rich\n"
        "from . import view\n"
        "from ..load.live import x\n"
        "def late():\n    from dropcheck import __version__, cli\n    import torch.fx as fx\n",
        encoding="utf-8",
    )
    assert rooms_imported("dropcheck.report.text", file) == {"report", "load", "cli", "", "torch"}


COUNT_IMPORTS = """
import json, sys
from dropcheck.cli import main
sys.argv[0] = "dropcheck"
try:
    main()
except SystemExit as stop:
    print(json.dumps([stop.code, sorted(sys.modules)]), file=sys.stderr)
"""


def imported_by(script: str, *arguments: str, cwd: Path) -> tuple[int, set[str]]:
    """The exit code of a command run in a fresh interpreter, and the modules it imported there."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=cwd)
    code, imported = json.loads(done.stderr.splitlines()[-1])
    return code, set(imported)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["lint", "--help"],
        ["stats", "--help"],
        ["probe", "--help"],
        ["recalibrate", "--help"],
        ["rules"],
        ["explain", "DC101"],
        ["lint", "plain.py"],
    ],
    ids=" ".join,
)
def test_commands_that_need_no_model_need_no_torch(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("import torch\n\n\ndef area(side):\n    return side**2\n", encoding="utf-8")
    code, imported = imported_by(COUNT_IMPORTS, *arguments, cwd=tmp_path)
    assert code == 0
    assert "dropcheck.cli" in imported
    assert not imported & {"torch", "numpy", "libcst"}


def test_linting_a_model_leaves_torch_to_the_worker(tmp_path: Path) -> None:
    source = "from torch import nn\n\nnet = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8))\n"
    (tmp_path / "nets.py").write_text(source, encoding="utf-8")
    code, imported = imported_by(COUNT_IMPORTS, "lint", "nets.py", cwd=tmp_path)
    assert code == 1
    assert not imported & {"torch", "numpy"}


def test_the_package_itself_imports_nothing_heavy(tmp_path: Path) -> None:
    script = "import dropcheck, json, sys; print(json.dumps([0, sorted(sys.modules)]), file=sys.stderr)"
    _, imported = imported_by(script, cwd=tmp_path)
    assert "dropcheck" in imported
    assert not imported & HEAVY
