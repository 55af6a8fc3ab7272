"""One operation of a captured model, and its place in the source."""

from __future__ import annotations

from dataclasses import dataclass

from dropcheck.ops import BatchNorm, Dropout, LocalNorm, Op


@dataclass(frozen=True, slots=True)
class Site:
    """A region of a source file; lines and columns count from 1, the end column is exclusive."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Node:
    """One operation at one call site.

    Attributes:
        name: unique within the graph.
        path: module path as ``named_modules()`` gives it; functions get ``<module path>/<function>``.
        inputs: names of the nodes whose results it reads, in argument order.
        shape: of its (first) result, None when capture had no example input.
        site: where it is reported: the call in the user's file, or the construction for layers a container calls.
        built: where its layer was constructed, if that is known and it has a layer.
        training: whether the layer is in training mode while the model trains.
        random_in_eval: whether it still draws random numbers after ``model.eval()``; None where that is not known.
    """

    name: str
    path: str
    op: Op
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    site: Site | None = None
    built: Site | None = None
    training: bool = True
    random_in_eval: bool | None = None

    @property
    def drops(self) -> bool:
        """Whether this is a dropout that really drops something while the model trains, and only then.

        One that drops in evaluation too is a fault of its own, but no norm sees a difference.
        """
        return isinstance(self.op, Dropout) and self.op.drop_rate > 0.0 and self.training and not self.random_in_eval

    @property
    def remembers(self) -> bool:
        """Whether this norm stores training statistics and uses them at evaluation: where a shift does its harm."""
        return isinstance(self.op, BatchNorm) and self.op.tracks and self.training

    @property
    def blocks(self) -> bool:
        """Whether a variance shift ends here: the statistics in use are computed anew from the very input."""
        return isinstance(self.op, LocalNorm) or (isinstance(self.op, BatchNorm) and not self.op.tracks)
