"""Masks that forward makes by hand, of random numbers that it draws itself.

What is made of random numbers alone keeps its population (see ``draws``); where it meets an activation, it acts as
a dropout. What cannot be followed is an error: a guess would look like a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dropcheck import ops
from dropcheck.simulate.blame import dropped_behind
from dropcheck.simulate.called import Called
from dropcheck.simulate.copies import Copies
from dropcheck.simulate.draws import Draw, derived, population
from dropcheck.simulate.failure import PredictionError
from dropcheck.simulate.notes import Note, Notes

_PRODUCTS = ("mul", "multiply")


@dataclass(frozen=True, slots=True)
class Chance:
    """Follows random numbers through one run."""

    copies: Copies
    notes: Notes

    def draw(self, call: Called) -> Any:
        """A call that draws random numbers."""
        result = call.run()
        values = population(call.kind, call.args, call.kwargs, result) if isinstance(result, Tensor) else None
        if values is not None:
            self._set(result, Draw(values, call.node))
        return result

    def follow(self, call: Called, drawn: Sequence[Tensor]) -> Any:
        """A call that reads ``drawn``, tensors made of random numbers.

        Raises:
            PredictionError: it spreads one random number over the whole batch, or makes a choice of it.
        """
        alone = len({id(x) for x in call.tensors}) == 1 or call.kind.endswith("_as")
        if alone and isinstance(call.op, ops.Rearrange) and call.args[0] is drawn[0]:
            return self._rearranged(call, drawn[0])
        if len(drawn) < len({id(x) for x in call.tensors}):
            return self._meet(call, drawn[0])
        known = {id(x): draw for x in drawn if (draw := self.notes[x].draw) is not None}
        result = call.run()
        if not isinstance(result, Tensor):
            if call.kind in ("bool", "item", "float", "int", "tolist"):
                raise PredictionError(f"forward chooses its way by a random number ({known[id(drawn[0])].node})")
            return result
        values = derived(call, known)
        if values is not None:
            self._set(result, Draw(values, call.node))
        elif self.copies.hold(result):
            raise PredictionError(f"what {call.node} makes of random numbers cannot be followed")
        return result

    def _rearranged(self, call: Called, drawn: Tensor) -> Any:
        """A view of random numbers, or a copy in another shape: the same numbers are as likely."""
        result = call.run()
        if isinstance(result, Tensor):
            self.notes[result] = self.notes[drawn]
        return result

    def _set(self, x: Tensor, draw: Draw) -> None:
        if self.copies.hold(x) and x.is_floating_point():
            self.copies.clean(x).fill_(draw.mean)
        self.notes[x] = Note(draw=draw)

    def _meet(self, call: Called, mask: Tensor) -> Any:
        """An activation and a mask come together."""
        draw = self.notes[mask].draw
        assert draw is not None
        if not self.copies.hold(mask):
            raise PredictionError(f"one random number decides for the whole batch ({draw.node})")
        x = next(x for x in call.tensors if self.notes[x].draw is None and self.copies.hold(x))
        factor = mask
        if mask.dtype is torch.bool:
            factor = mask.to(x.dtype)
            self.copies.clean(factor).fill_(draw.mean)
        out = call.run() if factor is mask else _chosen(call, x, factor, draw)
        if not isinstance(out, Tensor) or not self.copies.hold(out):
            return out
        note = Note(dropped_behind(self.notes[x].blame, x, out, call.node, mask.shape == x.shape, self.copies))
        stretch = self.notes[x].stretch
        if stretch is not None and call.kind in _PRODUCTS and x.shape == out.shape:
            note = replace(note, stretch=stretch.then(lambda values, rows: values * factor[rows], draw.gain))
        self.notes[out] = note
        return out


def _chosen(call: Called, x: Tensor, mask: Tensor, draw: Draw) -> Tensor:
    """The result with a mask of truth values as numbers: they have a mean."""
    if call.kind in _PRODUCTS:
        return x * mask
    if call.kind == "where" and len(call.args) == 3:
        return _blend(mask, call.args[1], call.args[2])
    if call.kind == "masked_fill" and not call.writes:
        return _blend(mask, call.args[2], call.args[0])
    raise PredictionError(f"a random choice ({draw.node}) meets {call.kind}, which cannot be followed")


def _blend(mask: Tensor, chosen: Tensor | float, otherwise: Tensor | float) -> Tensor:
    blend: Tensor = mask * chosen + (1.0 - mask) * otherwise
    return blend
