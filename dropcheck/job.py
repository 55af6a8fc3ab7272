"""What the main process asks of the worker, and what it gets back. Torch-free, and nothing but data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dropcheck.graph import Graph
from dropcheck.result import AnalysisError, Status
from dropcheck.shift import LayerStatistics, Shifts
from dropcheck.table import ShiftTable


@dataclass(frozen=True, slots=True)
class Feed:
    """Where batches come from: a ``file`` of arrays (absolute), or what a callable gives.

    Of a callable, ``path`` and ``module``, ``symbol`` and ``call`` are as in :class:`Job`. ``label`` is how reports
    call the file or module.
    """

    label: str
    file: str | None = None
    path: str | None = None
    module: str | None = None
    symbol: str | None = None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What to run on a model to measure its shifts.

    Attributes:
        feed: None for synthetic noise.
        batches: at most so many, on all processes together; None for all there are.
        batch_size: None for the data's own, or a usual one.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        seed: of dropout masks, synthetic noise and the order of samples.
        attribute: whether to find out what each dropout does, by switching one after the other off.
        recalibrate: which running statistics to estimate again.
        draft: the file to write the recalibrated weights to.
        patience: seconds that a batch may take; None for any time.
    """

    feed: Feed | None = None
    batches: int | None = None
    batch_size: int | None = None
    device: str = "auto"
    amp: bool = False
    seed: int = 0
    attribute: bool = False
    recalibrate: Literal["both", "var"] | None = None
    draft: str | None = None
    patience: float | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """How a model of a file is to be built, settled by hand, in place of what would be guessed.

    ``call`` is the text of a literal call's arguments, ``input`` an input spec, ``weights`` a file; ``said``: where it
    is settled, a line of a source file or a configuration file.
    """

    symbol: str
    call: str | None = None
    input: str | None = None
    weights: str | None = None
    said: str = ""


def are_several(environment: Mapping[str, str]) -> bool:
    """Whether the environment variables of torchrun say that several processes work together."""
    return environment.get("WORLD_SIZE", "1") != "1" and "RANK" in environment and "MASTER_ADDR" in environment


@dataclass(frozen=True, slots=True)
class Job:
    """One file or one target to build and capture.

    Exactly one of ``path`` (a .py file, absolute) and ``module`` (dotted name) is set. Without ``symbol`` every model
    of the file is wanted. ``call`` is the literal call's argument text without parentheses (``"depth=20, p=0.5"``),
    ``input`` an input spec such as ``2x3x32x32``, ``weights`` the file of a trained state dict. ``label`` is how
    reports call the file (relative path or module). ``statistics``: what is asked for are the layers' weights (those of
    initialisation where no others are given), not a graph. ``settled``: models of the file whose arguments or input
    somebody has said. ``measurement``: its one model is to be run on data, and its shifts measured. ``switches``:
    models are wanted with the dropout and batch norm that are off by default, too.
    """

    label: str
    path: str | None = None
    module: str | None = None
    symbol: str | None = None
    call: str | None = None
    input: str | None = None
    weights: str | None = None
    statistics: bool = False
    settled: tuple[Build, ...] = ()
    measurement: Measurement | None = None
    switches: bool = False

    @property
    def initialised(self) -> bool:
        """Whether it takes the weights that a constructor makes."""
        return (self.statistics or self.measurement is not None) and self.weights is None


@dataclass(frozen=True, slots=True)
class CapturedModel:
    """One model as the worker saw it; ``graph`` is None unless ``status`` is analysed and a graph was asked for.

    ``target`` is ``label:Symbol``; ``arguments`` the constructor arguments used, as source text (``""`` for none).
    ``shifts`` are what trained weights say, None where there are none (then the prediction rests on the code alone);
    ``remark`` names what of them could not be used, ``weights`` says which file they come from and how it was read.
    ``guessed``: the numbers it was given for constructor arguments that have no default and that nobody gave.
    ``layers`` are its weight layers, known where weights are. ``by_design``: a model left out on purpose (a part of
    another analysed model), which is no failure. ``parts``: the classes it is made of that other files of the user
    define, as targets. ``switched``: the arguments, as source text, that differ from the model as it is written.
    ``without``: the packages that are not installed and that the model turned out not to need.
    """

    target: str
    status: Status
    reason: str | None = None
    capture: Literal["fx", "record"] | None = None
    arguments: str | None = None
    input: str | None = None
    graph: Graph | None = None
    shifts: Shifts | None = None
    remark: str | None = None
    weights: str | None = None
    layers: tuple[LayerStatistics, ...] = ()
    by_design: bool = False
    guessed: tuple[float, ...] = ()
    parts: tuple[str, ...] = ()
    switched: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The worker's answer to one job; ``table`` is what was measured, if that was wanted and possible."""

    models: tuple[CapturedModel, ...] = ()
    errors: tuple[AnalysisError, ...] = ()
    table: ShiftTable | None = None
