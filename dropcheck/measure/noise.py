"""Synthetic batches where there are no data: smooth noise of the shapes that a model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from dropcheck.capture import ExampleInput
from dropcheck.measure.batches import Arguments
from dropcheck.simulate.failure import PredictionError
from dropcheck.simulate.survey import survey
from dropcheck.simulate.synthetic import Maker
from dropcheck.simulate.untouched import untouched
from dropcheck.simulate.where import Whereabouts
from dropcheck.table import MeasurementError

LABEL = "synthetic smooth noise"


@dataclass(frozen=True, slots=True)
class Noise:
    """``batches`` batches of ``size`` samples like an example; new ones each time it is run over.

    ``shape``: of one sample; ``features_last``: whether its channels are its last axis.
    """

    maker: Maker
    shape: tuple[int, ...]
    features_last: bool
    batches: int
    size: int

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Arguments]:
        for _ in range(self.batches):
            args, kwargs = self.maker.batch(self.size, self.shape, self.features_last).arguments()
            yield Arguments(args, kwargs)


def noise_for(model: nn.Module, examples: Iterable[ExampleInput], batches: int, size: int) -> Noise:
    """Noise like the first of ``examples`` that ``model`` accepts; the model, on the CPU, is left as it was.

    Raises:
        MeasurementError: it accepts none.
    """
    reason = "no input is known"
    for example in examples:
        try:
            maker = Maker(example)
            with untouched(model), torch.no_grad():
                model.eval()
                found = survey(model, maker, Whereabouts(model))
        except PredictionError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the next example may suit it
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        else:
            return Noise(maker, found.shape, bool(found.features_last), batches, size)
    raise MeasurementError(f"no synthetic input suits the model: {reason}", "give data, or an example input")
