"""The picture of measured shifts: what is drawn, which files are written, and what is refused beforehand."""

from __future__ import annotations

import subprocess
import sys
from math import inf, isnan
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dropcheck.report.plot import check_drawable, draw, figure
from dropcheck.table import MeasuredNorm, Moments, ShiftTable


def norm(
    name: str, moving: float | None, real: float | None, train: float | None = None, **more: object
) -> MeasuredNorm:
    return MeasuredNorm(name, "BatchNorm2d", stored=Moments(moving, real), train_var=train, **more)  # type: ignore[arg-type]


def table(*norms: MeasuredNorm) -> ShiftTable:
    return ShiftTable(norms, batches=2, samples=128, data="digits.npz")


TWO = table(norm("bn1", 2.0, 1.0, 2.5), norm("bn2", 1.0, 3.0, 3.0))


def drawn(table: ShiftTable) -> list[dict[str, list[float]]]:
    """The values of every line that has a label, by the label's first word, for each of the two axes."""
    return [
        {
            str(line.get_label()).split()[0]: list(line.get_ydata())
            for line in axes.get_lines()
            if line.get_label()[0] != "_"
        }
        for axes in figure(table).axes
    ]


def test_both_variances_and_both_ratios_are_drawn() -> None:
    variances, ratios = drawn(TWO)
    assert variances == {"moving_var:": [2.0, 1.0], "real_var:": [1.0, 3.0]}
    assert ratios == {"stored:": [2.0, 3.0], "measured:": [2.5, 1.0]}


def test_a_recalibrated_model_is_drawn_before_and_after() -> None:
    variances, ratios = drawn(table(norm("bn", 2.0, 1.0, after=Moments(1.0, 1.1))))
    assert variances["moving_var"] == [1.0]
    assert ratios == {"before": [2.0], "after": [1.1]}


def test_what_is_unknown_or_infinite_leaves_a_gap() -> None:
    variances, ratios = drawn(table(norm("a", 1.0, 0.0, 1.0), norm("b", None, None), norm("c", 1.0, inf, 1.0)))
    assert [isnan(one) for one in variances["real_var:"]] == [True, True, True]
    assert [isnan(one) for one in ratios["measured:"]] == [True, True, True]


def test_few_norms_are_named_and_many_numbered() -> None:
    def labels(count: int) -> list[str]:
        drawn = figure(table(*(norm(f"features.{index}.bn", 1.0, 1.0, 1.0) for index in range(count))))
        drawn.canvas.draw()
        return [label.get_text() for label in drawn.axes[1].get_xticklabels()]

    assert labels(3) == ["features.0.bn", "features.1.bn", "features.2.bn"]
    assert all(label.isdigit() for label in labels(100))


def test_the_title_says_what_was_run() -> None:
    assert figure(TWO).get_suptitle() == "Variance shift of 2 batch norms: 128 samples of digits.npz"


@pytest.mark.parametrize("name", ["shift.svg", "shift.PNG"])
def test_files_hold_what_their_suffix_says(name: str, tmp_path: Path) -> None:
    draw(TWO, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(b"\x89PNG") if name.endswith("PNG") else ElementTree.fromstring(data).tag.endswith("}svg")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_same_table_gives_the_same_svg(tmp_path: Path) -> None:
    draw(TWO, tmp_path / "one.svg")
    draw(TWO, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_table_of_no_norms_and_names_with_markup_can_be_drawn(tmp_path: Path) -> None:
    draw(table(), tmp_path / "none.svg")
    draw(table(norm("a$b$_<&>\n", 1.0, 1.0, 1.0)), tmp_path / "odd.svg")
    ElementTree.parse(tmp_path / "odd.svg")


@pytest.mark.parametrize(("name", "said"), [("shift.jpg", "this ends in .jpg"), ("shift", "this has no suffix")])
def test_other_suffixes_are_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"shift.*: a picture ends in \.svg or \.png, {said}"):
        check_drawable(name)


def test_without_matplotlib_it_says_what_to_install() -> None:
    script = """if True:
        import sys, importlib.machinery
        class Nothing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "matplotlib":
                    return None
                return importlib.machinery.PathFinder.find_spec(name, path, target)
        sys.meta_path[:] = [one for one in sys.meta_path if "PathFinder" not in str(one)] + [Nothing()]
        from dropcheck.table import ShiftTable
        for file in (None, "shift.svg"):
            try:
                ShiftTable().plot(file)
            except ImportError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["drawing needs matplotlib: pip install 'dropcheck[plot]'"] * 2
