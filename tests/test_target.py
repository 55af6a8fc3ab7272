"""What the command line names: targets with literal calls, input specs, files and directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcheck.result import ErrorKind
from dropcheck.source import InputSpec, Target, UsageError, find_files, parse_arguments, parse_input, parse_target
from dropcheck.source.patterns import Patterns


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nets.py", Target(Path("nets.py"))),
        (" nets.py ", Target(Path("nets.py"))),
        (".", Target(Path())),
        ("nets.py:Net", Target(Path("nets.py"), symbol="Net")),
        ("nets.py:zoo.Net", Target(Path("nets.py"), symbol="zoo.Net")),
        ("nets.py:Net()", Target(Path("nets.py"), symbol="Net", call="")),
        ("nets.py:Net(depth=20, p=0.5)", Target(Path("nets.py"), symbol="Net", call="depth=20, p=0.5")),
        ("nets.py:Net({'a:b': (1, 'c:d')})", Target(Path("nets.py"), symbol="Net", call="{'a:b': (1, 'c:d')}")),
        ("nets.py:Größe", Target(Path("nets.py"), symbol="Größe")),
        ("zoo.nets:Net(1)", Target(module="zoo.nets", symbol="Net", call="1")),
        ("nets:Net", Target(module="nets", symbol="Net")),
        ("odd:dir/nets.py:Net", Target(Path("odd:dir/nets.py"), symbol="Net")),
    ],
)
def test_targets(here: Path, text: str, expected: Target) -> None:
    write("nets.py", "odd:dir/nets.py")
    assert parse_target(text) == expected


def test_a_file_whose_name_holds_a_colon_is_itself(here: Path) -> None:
    write("a:b.py")
    assert parse_target("a:b.py") == Target(Path("a:b.py"))


def test_a_drive_letter_is_no_module() -> None:
    with pytest.raises(UsageError, match="no such file or directory") as caught:
        parse_target(r"C:\work\nets.py:Net")
    assert str(caught.value).startswith("C:\\work\\nets.py: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty path; expected a file, a directory, file.py:Symbol or package.module:Symbol"),
        ("netz.py", "netz.py: no such file or directory; did you mean nets.py?"),
        ("netz.py:Net", "netz.py: no such file or directory; did you mean nets.py?"),
        ("gone/deep.py", "gone/deep.py: no such file or directory"),
        ("zoo.models", "zoo.models: no such file or directory; for a symbol of a module write zoo.models:Symbol"),
        ("notes.md", "notes.md: not a Python file; expected a file ending in .py, or a directory"),
        ("a.ipynb", "a.ipynb: a notebook; make a .py file of it with jupyter nbconvert --to script a.ipynb"),
        ("nets.py:", "nets.py:: after the colon a symbol is expected, got ''; write nets.py:Net"),
        ("nets.py:12", "nets.py:12: after the colon a symbol is expected, got '12'; write nets.py:Net"),
        (
            "nets.py:Net(1",
            "nets.py:Net(1: the call 'Net(1' does not end with its closing parenthesis; write file.py:Net(depth=20)",
        ),
        ("./:Net", "./: a directory has no symbols; name the file, as in ./nets.py:Net"),
        ("a b:Net", "a b:Net: 'a b' is neither a file nor a module; write file.py:Symbol or package.module:Symbol"),
        (
            "nets.py:Net(3, p=half)",
            "nets.py:Net(3, p=half): argument p (column 18): half is not a Python literal; for a text write 'half'",
        ),
    ],
)
def test_wrong_targets(here: Path, text: str, message: str) -> None:
    write("nets.py", "notes.md", "a.ipynb")
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert str(caught.value) == message


def test_literals_of_every_kind() -> None:
    call = "1, -2.5, 'x', b'y', None, True, [1, (2, 3)], {4: {5}}, 1e3, 2+1j, **_"
    with pytest.raises(UsageError, match=r"^arguments are given one by one; \*\* at column 67 is not$"):
        parse_arguments(call)
    args, kwargs = parse_arguments(call.removesuffix("**_") + "depth=20,\n    p=0.5,")
    assert args == (1, -2.5, "x", b"y", None, True, [1, (2, 3)], {4: {5}}, 1000.0, 2 + 1j)
    assert kwargs == {"depth": 20, "p": 0.5}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("__import__('os')", "argument 1 (column 1): __import__('os') is not a Python literal"),
        ("'ä', 3 * x", "argument 2 (column 6): 3 * x is not a Python literal"),
        ("depth=20, rate=open", "argument rate (column 16): open is not a Python literal; for a text write 'open'"),
        ("cfg=...", "argument cfg (column 5): ... is not a Python literal"),
        ("\n  widths=[w]", "argument widths (column 11): [w] is not a Python literal"),
        ("*[1]", "argument 1 (column 1): *[1] is not a Python literal"),
        ("p=1, p=2", "argument p is given twice"),
        ("1), (2", "unbalanced parentheses; write arguments as in (depth=20, p=0.5)"),
        ("depth 20", "not valid arguments at column 1: invalid syntax. Perhaps you forgot a comma?"),
    ],
)
def test_wrong_arguments(call: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments(call)
    assert str(caught.value) == message


def test_absurdly_nested_arguments_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not valid arguments"):
        parse_arguments("(" * 5000 + ")" * 5000)


def test_jobs_name_files_relative_to_the_working_directory(here: Path) -> None:
    write("zoo/nets.py")
    job = parse_target("zoo/../zoo/nets.py:Net(2)").job("2x3")
    assert (job.label, job.path) == ("zoo/nets.py", str(here / "zoo" / "nets.py"))
    assert (job.symbol, job.call, job.input, job.module) == ("Net", "2", "2x3", None)
    assert parse_target("zoo.nets:Net").job().label == "zoo.nets"


@pytest.mark.parametrize(
    ("text", "shown", "expected"),
    [
        ("2x3x32x32", "2x3x32x32", [InputSpec((2, 3, 32, 32))]),
        (" 2 x 128 : int64 ", "2x128:int64", [InputSpec((2, 128), "int64")]),
        ("2x3,2x4:bool", "2x3,2x4:bool", [InputSpec((2, 3)), InputSpec((2, 4), "bool")]),
        ("7:long", "7:int64", [InputSpec((7,), "int64")]),
        ("1x1:float", "1x1", [InputSpec((1, 1))]),
    ],
)
def test_input_specs(text: str, shown: str, expected: list[InputSpec]) -> None:
    specs = parse_input(text)
    assert list(specs) == expected
    assert ",".join(map(str, specs)) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a positive size at column 1, got nothing"),
        ("2x0", "expected a positive size at column 3, got '0'"),
        ("2x-3", "expected a positive size at column 3, got '-3'"),
        ("2x3,,4", "expected a positive size at column 5, got nothing"),
        ("2x3, 4xX", "expected a positive size at column 8, got 'X'"),
        ("(2,3)", "expected a positive size at column 1, got '(2'"),
        ("2x٣", "expected a positive size at column 3, got '٣'"),
        ("2x3:flot32", "unknown dtype 'flot32' at column 5; choose from float32, float64"),
        ("2x3: ", "unknown dtype '' at column"),
        ("2x3,999999x999999", "999999x999999 at column 5 has more than 2**30 elements"),
    ],
)
def test_wrong_input_specs(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input(text)
    assert str(caught.value).startswith(f"input {text!r}: {message}")


def test_directories_are_searched_in_order_without_what_nobody_wrote(here: Path) -> None:
    write("b.py", "a.py", "notes.txt", "zoo/net.py", "zoo/deep/x.py", "alpha/y.py", "try.ipynb", "zoo/eda.ipynb")
    write(".git/h.py", "__pycache__/c.py", "build/lib/a.py", "node_modules/n.py", "env/pyvenv.cfg", "env/lib/v.py")
    found = find_files([Path()])
    assert [file.as_posix() for file in found.files] == ["a.py", "b.py", "alpha/y.py", "zoo/net.py", "zoo/deep/x.py"]
    assert (found.errors, found.notebooks) == ((), 2)


def test_what_is_named_is_always_taken_and_each_file_once(here: Path) -> None:
    write("build/a.py", "zoo/net.py", "zoo/script")
    found = find_files(
        map(Path, ["zoo/script", "build", "zoo/net.py", "zoo", str(here / "zoo")]), exclude=["zoo", "build"]
    )
    assert [file.as_posix() for file in found.files] == ["zoo/script", "build/a.py", "zoo/net.py"]


def test_symbolic_links_are_followed_but_not_in_circles(here: Path) -> None:
    write("zoo/net.py", "far/away.py")
    os.symlink(here / "zoo", here / "zoo" / "again")
    os.symlink(here / "far", here / "zoo" / "far")
    os.symlink("nowhere", here / "zoo" / "broken.py")
    assert [file.name for file in find_files([Path("zoo")]).files] == ["net.py", "away.py"]


def test_a_path_that_does_not_exist_is_a_usage_error(here: Path) -> None:
    with pytest.raises(UsageError, match="gone: no such file or directory"):
        find_files([Path("gone")])


def test_a_directory_that_cannot_be_read_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("ok.py", "locked/net.py")
    usual = Path.iterdir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    found = find_files([Path()])
    assert [file.name for file in found.files] == ["ok.py"]
    (error,) = found.errors
    assert (error.path, error.kind) == ("locked", ErrorKind.CONFIG)
    assert error.message == "the directory cannot be searched: Permission denied"


@pytest.mark.parametrize(
    ("patterns", "left_out", "kept"),
    [
        (["*_test.py"], ["a_test.py", "deep/er/b_test.py"], ["test.py", "a_test.pyc"]),
        (["/old"], ["old"], ["new/old"]),
        (["zoo/*.py"], ["zoo/a.py"], ["zoo/deep/a.py", "a.py"]),
        (["**/gen"], ["gen", "a/gen", "a/b/gen"], ["regen"]),
        (["a/**/z.py"], ["a/z.py", "a/b/c/z.py"], ["z.py", "a/bz.py"]),
        (["docs/**"], ["docs/a.py", "docs/b/c.py"], ["docs"]),
        (
            ["net?.py", "v[0-9].py", "w[!0-9].py"],
            ["net1.py", "v3.py", "wx.py"],
            ["net.py", "net/.py", "vx.py", "w3.py"],
        ),
        (["*.py", "!keep.py"], ["a.py"], ["keep.py", "deep/keep.py"]),
        (["# a comment", "", r"\#odd.py", "a b "], ["#odd.py", "a b"], ["# a comment"]),
        (["a.py"], ["a.py"], ["aXpy"]),
    ],
)
def test_exclude_patterns_as_in_gitignore(patterns: list[str], left_out: list[str], kept: list[str]) -> None:
    matches = Patterns(patterns)
    assert [path for path in (*left_out, *kept) if matches(path, directory=False)] == left_out


def test_a_trailing_slash_means_directories_only(here: Path) -> None:
    matches = Patterns(["gen/"])
    assert matches("a/gen", directory=True)
    assert not matches("a/gen", directory=False)
    write("gen/a.py", "zoo/gen/b.py", "zoo/c.py")
    assert [file.as_posix() for file in find_files([Path()], ["gen/"]).files] == ["zoo/c.py"]
