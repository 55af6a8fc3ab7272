"""What a call's result inherits from its arguments: whose noise it carries, and the stretch it continues."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dropcheck import ops
from dropcheck.simulate.blame import Blame, mixed, weighed
from dropcheck.simulate.called import Called
from dropcheck.simulate.copies import Copies
from dropcheck.simulate.notes import Note, Notes
from dropcheck.simulate.stretches import Stretch, keeps_channels, step_of

_MIXING = (ops.MatMul, ops.Recurrent, ops.Attention)


def note_on(out: Tensor, call: Called, notes: Notes, copies: Copies) -> Note:
    """The note for ``out``, a floating-point result of ``call``."""
    blame = _blame(out, call, notes, copies)
    if not copies.hold(out) or out.dim() < 2:
        return Note(blame)
    if isinstance(call.op, ops.Weight):
        return Note(blame, Stretch(out))
    if isinstance(call.op, ops.Concat) and _joins_channels(call.tensors, out):
        return Note(blame, parts=call.tensors)
    return Note(blame, _stretch(out, call, notes))


def _blame(out: Tensor, call: Called, notes: Notes, copies: Copies) -> Blame | None:
    noisy = [(x, blame) for x in call.tensors if (blame := notes[x].blame) is not None]
    if not noisy:
        return None
    if len(noisy) > 1:
        return mixed([(blame, copies.energy(x)) for x, blame in noisy])
    x, blame = noisy[0]
    if isinstance(call.op, ops.Weight) and call.args and call.args[0] is x:
        return weighed(blame, call, out, copies)
    return blame.through_weights() if isinstance(call.op, _MIXING) else blame


def _stretch(out: Tensor, call: Called, notes: Notes) -> Stretch | None:
    """The stretch that the call continues, if it does."""
    together = [x for x in call.tensors if x.dim() > 0 and x.shape[0] == out.shape[0]]
    if isinstance(call.op, ops.Multiply) and len(together) > 1:  # a gate computed from the very signal
        return None
    # Of two terms the one that has come some way since its weight layer is the one to move.
    moving = [(x, stretch) for x in together if (stretch := notes[x].stretch) and (stretch.steps or len(together) == 1)]
    if len(moving) != 1:
        return None
    x, stretch = moving[0]
    return stretch.then(step_of(call, x)) if keeps_channels(call.op, x, out, together[1:]) else None


def _joins_channels(parts: Sequence[Tensor], out: Tensor) -> bool:
    """Whether ``parts`` lie side by side in ``out`` along axis 1."""
    rest = (out.shape[:1], out.shape[2:])
    return all((x.shape[:1], x.shape[2:]) == rest for x in parts) and out.shape[1] == sum(x.shape[1] for x in parts)
