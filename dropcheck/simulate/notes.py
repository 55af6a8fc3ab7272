"""What is known of each tensor of a run, for as long as the tensor lives."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dropcheck.simulate.blame import Blame
from dropcheck.simulate.draws import Draw
from dropcheck.simulate.stretches import Stretch


@dataclass(frozen=True, slots=True)
class Note:
    """How a tensor came about.

    Attributes:
        blame: whose noise it carries; None without noise.
        stretch: what was done since the last weight layer; None where that cannot be replayed.
        parts: what it was concatenated from, along the channels.
        calibrated: its moments are those that some norm remembers.
        draw: set for what was made of random numbers alone.
    """

    blame: Blame | None = None
    stretch: Stretch | None = None
    parts: tuple[Tensor, ...] = ()
    calibrated: bool = False
    draw: Draw | None = None


_BLANK = Note()


class Notes:
    """Notes by tensor identity; they go with their tensor."""

    def __init__(self) -> None:
        self._notes: MutableMapping[Tensor, Note] = WeakTensorKeyDictionary()

    def __getitem__(self, x: Tensor) -> Note:
        return self._notes.get(x, _BLANK)

    def __setitem__(self, x: Tensor, note: Note) -> None:
        self._notes[x] = note

    def change(self, x: Tensor, **fields: Any) -> None:
        self[x] = replace(self[x], **fields)
