"""The options of ``probe`` and ``recalibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dropcheck.cli.options import one_of, positive_seconds
from dropcheck.output import check_writable

DEVICES = ("auto", "cpu", "cuda", "mps")
STATS = ("both", "var")


def _picture(file: Path | None) -> Path | None:
    if file is not None:
        from dropcheck.report.plot import check_drawable

        try:
            check_drawable(file)
            check_writable(file)
        except (ValueError, ImportError, OSError) as error:
            raise typer.BadParameter(str(error)) from error
    return file


_DATA = (
    "Inputs as arrays in a file (.npz, .npy, .pt), or data.py:loader or package.data:loader, which gives a DataLoader "
    "or another iterable of batches."
)
Data = Annotated[
    str | None, typer.Option(metavar="FILE|CALLABLE", show_default=False, help=f"{_DATA} Without it, synthetic noise.")
]
TrainingData = Annotated[
    str, typer.Option("--data", metavar="FILE|CALLABLE", show_default=False, help=f"Training data. {_DATA}")
]
Batches = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Run at most so many.  [default: 50; 24 of noise]"),
]
AllBatches = Annotated[int | None, typer.Option("--batches", min=1, metavar="N", help="Run at most so many.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Samples of a batch, unless the data come in batches.  [default: 64]"),
]
Device = Annotated[str, typer.Option(callback=one_of(DEVICES), metavar="|".join(DEVICES), help="Where to run.")]
Amp = Annotated[bool, typer.Option("--amp", help="Run forwards under autocast.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Of dropout masks, of noise and of the order of samples.")]
Attribute = Annotated[
    bool, typer.Option("--attribute", help="Find out what each dropout does, by switching one after the other off.")
]
Plot = Annotated[
    Path | None, typer.Option(callback=_picture, metavar="FILE", help="Draw variances and ratios: .svg or .png.")
]
Stat = Annotated[
    str, typer.Option(callback=one_of(STATS), metavar="|".join(STATS), help="Means and variances, or variances only.")
]
Recalibrated = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", show_default=False, help="Write the recalibrated weights there."),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Write them over the file of --weights.")]
TrainedWeights = Annotated[
    Path,
    typer.Option(
        "--weights",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        show_default=False,
        help="The state dict to recalibrate (.pt, .pth …) or .safetensors.",
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        "--fail-on",
        callback=one_of(("error", "warning", "never")),
        metavar="error|warning|never",
        help="Exit with 1 if a measured shift ratio reaches the threshold of that severity.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        callback=positive_seconds,
        metavar="SECONDS",
        help="The longest that loading the model may take, and then each batch.  [default: 60, any time for a batch]",
    ),
]
