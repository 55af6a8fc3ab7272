"""The run itself: intercepts what torch is asked to do while the copies pass through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.catalogue import module_row
from dropcheck.capture.names import plain_name
from dropcheck.capture.record import tensors_in
from dropcheck.graph import Graph
from dropcheck.measure.blame import Blame, dropped, mixed, weighed
from dropcheck.measure.copies import TINY, Copies
from dropcheck.measure.draws import Draw, derived, population
from dropcheck.measure.failure import PredictionError
from dropcheck.measure.inner import Inner, inner
from dropcheck.measure.kinds import is_on, operation
from dropcheck.measure.masks import affine
from dropcheck.measure.norms import Measured, Norms
from dropcheck.measure.notes import Note, Notes
from dropcheck.measure.probe import Survey
from dropcheck.measure.stretches import Stretch, can_follow, step_of, writes_in_place
from dropcheck.measure.where import Whereabouts

_BLOCK = 7
"""Side of the squares of block dropout where the layer does not say."""

Function = Callable[..., Any]


class MaskedRun(TorchFunctionMode):
    """While it is open, forward runs on masked copies; ``found`` then holds Δ by norm."""

    def __init__(self, model: nn.Module, graph: Graph, where: Whereabouts, copies: Copies, known: Survey) -> None:
        super().__init__()
        self.where, self.copies, self.always_on = where, copies, known.always_on
        self.model = model
        self.notes = Notes()
        self.found: dict[str, Measured] = {}
        judged = {node.name for node in graph if node.remembers} - known.misplaced
        tensors = (*model.parameters(), *model.buffers())
        stored = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.norms = Norms(copies, self.notes, judged, stored, self.found)

    @contextmanager
    def running(self) -> Iterator[None]:
        """For one forward of the model."""
        replaced = {}
        for module in self.model.modules():
            known = None if type(module).__module__.startswith("torch.nn.") else module_row(module)
            op = None if known is None else known[1](Call(known[0], "", module=module))
            if isinstance(op, ops.Dropout) and module.training and op.drop_rate > 0.0:
                replaced[module] = self._stand_in(module, op)
        try:
            for module, stand_in in replaced.items():
                module.forward = stand_in
            with self.where.watching(), self:
                yield
        finally:
            for module in replaced:
                vars(module).pop("forward", None)

    def __torch_function__(
        self, func: Function, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = plain_name(func)
        op = operation(func, args, kwargs)
        if isinstance(op, ops.Dropout):
            return self._dropout(func, op, args, kwargs)
        if name == "batch_norm":
            return self.norms.batch_norm(self.where.node(func, args), *args, **kwargs)
        if isinstance(op, ops.Constant) and op.random:
            return self._drawn(func, args, kwargs)
        if (found := inner(func, args, kwargs)) is not None:
            return self._inner(func, args, kwargs, found)
        return self._followed(func, op, args, kwargs)

    # Dropout ---------------------------------------------------------------------------------------------------

    def _dropout(self, func: Function, op: ops.Dropout, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self.where.node(func)
        x = args[0] if args else kwargs["input"]
        if op.drop_rate == 0.0 or not is_on(func, args, kwargs):
            return x
        if name in self.always_on:
            return self._followed(func, None, args, kwargs)
        out = self.drop(x, op, name)
        return x.copy_(out) if writes_in_place(func, args, kwargs) and self.notes[x].stretch is None else out

    def _stand_in(self, module: nn.Module, op: ops.Dropout) -> Function:
        exact: Function = module.forward

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            name = self.where.node(forward)
            if name in self.always_on or not isinstance(x, Tensor):
                return exact(x, *args, **kwargs)
            block = int(getattr(module, "block_size", _BLOCK))
            return self.drop(x, op, name, block, getattr(module, "scale_by_keep", True) is not False)

        return forward

    def drop(self, x: Tensor, op: ops.Dropout, name: str, block: int = _BLOCK, scaled: bool = True) -> Tensor:
        """``x`` behind a dropout that spares the clean copy."""
        if not self.copies.hold(x):
            raise PredictionError(f"the dropout {name!r} does not get the batch along axis 0")
        factor, offset = affine(x, op, self.copies, block, scaled)
        out = x * factor if offset is None else torch.addcmul(offset, x, factor)
        fresh = op.granularity is ops.Granularity.ELEMENT
        note = Note(self._dropped(x, out, name, fresh))
        if stretch := self.notes[x].stretch:
            blocks = op.granularity is ops.Granularity.BLOCK
            masks_only = offset is None and scaled and not blocks and op.drop_rate < 1.0

            def step(values: Tensor, rows: slice) -> Tensor:
                return values * factor[rows] if offset is None else torch.addcmul(offset[rows], values, factor[rows])

            note = replace(note, stretch=stretch.then(step, 1.0 / (1.0 - op.drop_rate) if masks_only else None))
        self.notes[out] = note
        return out

    def _dropped(self, before: Tensor, after: Tensor, name: str, fresh: bool) -> Blame:
        blame, kept = self.notes[before].blame, 0.0
        if blame is not None:
            noise = float(self.copies.noise(after).mean())
            kept = min(float(self.copies.noise(before).mean()) / max(noise, TINY), 1.0)
        return dropped(blame, name, kept, fresh)

    # Random numbers --------------------------------------------------------------------------------------------

    def _drawn(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result, name = func(*args, **kwargs), self.where.node(func)
        if name in self.always_on or not isinstance(result, Tensor):
            return result
        values = population(plain_name(func), args, kwargs, result)
        if values is not None:
            self._set_draw(result, Draw(values, name))
        return result

    def _set_draw(self, x: Tensor, draw: Draw) -> None:
        if self.copies.hold(x) and x.is_floating_point():
            self.copies.clean(x).fill_(draw.mean)
        self.notes[x] = Note(draw=draw)

    def _masked(self, func: Function, args: Sequence[Any], kwargs: dict[str, Any], drawn: Sequence[Tensor]) -> Any:
        """A call that brings activations together with what was made of random numbers alone."""
        draws = {id(x): self.notes[x].draw for x in drawn}
        name = plain_name(func)
        mask = drawn[0]
        draw = draws[id(mask)]
        assert draw is not None
        if not self.copies.hold(mask):
            raise PredictionError(f"one random number of {draw.name!r} decides for a whole batch")
        x = next(t for t in tensors_in([args, kwargs]) if id(t) not in draws)
        if mask.dtype is torch.bool:
            mask = mask.to(x.dtype)
            self.copies.clean(mask).fill_(draw.mean)
            if name == "where":
                out = mask * args[1] + (1.0 - mask) * args[2]
            elif name == "masked_fill":
                out = mask * args[2] + (1.0 - mask) * args[0]
            elif name in ("mul", "multiply"):
                out = x * mask
            else:
                raise PredictionError(f"a random choice made by {draw.name!r} meets {name}, which cannot be followed")
        else:
            out = func(*args, **kwargs)
        if not isinstance(out, Tensor) or not self.copies.hold(out):
            return out
        note = Note(self._dropped(x, out, draw.name, mask.shape == x.shape))
        stretch = self.notes[x].stretch
        if stretch and name in ("mul", "multiply") and x.shape == out.shape:
            note = replace(note, stretch=stretch.then(lambda values, rows: values * mask[rows], draw.gain))
        self.notes[out] = note
        return out

    # Everything else -------------------------------------------------------------------------------------------

    def _inner(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], found: Inner) -> Any:
        """A call with a dropout inside: what it does without goes to the clean copy."""
        name = self.where.node(func)
        result = self._followed(func, None, args, kwargs)
        if name in self.always_on:
            return result
        quiet = func(*found.args, **found.kwargs)
        for noisy, clean in zip(tensors_in(result), tensors_in(quiet), strict=True):
            axes = (axis for axis in range(min(2, noisy.dim())) if self.copies.hold(noisy.transpose(0, axis)))
            axis = next(axes, None)
            if axis is None or not noisy.is_floating_point():
                continue
            self.copies.clean(noisy.transpose(0, axis)).copy_(self.copies.clean(clean.transpose(0, axis)))
            blame = self.notes[noisy].blame
            self.notes[noisy] = Note(dropped(blame, name, 0.5 if blame else 0.0, False))
        return result

    def _followed(self, func: Function, op: ops.Op | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = list(tensors_in([args, kwargs]))
        drawn = [x for x in tensors if self.notes[x].draw is not None]
        if drawn:
            return self._with_draws(func, op, args, kwargs, tensors, drawn)
        if tensors and self.notes[tensors[0]].stretch is not None and writes_in_place(func, args, kwargs):
            args = self._spared(args)
            result = func(tensors[0], *args[1:], **kwargs)
            tensors[0] = args[0]
        else:
            result = func(*args, **kwargs)
        for out in tensors_in(tensors[0] if result is None and tensors else result):
            if out.is_floating_point() and out.dim() > 0:
                note = self._note(func, op, args, kwargs, tensors, out)
                if note is not None:
                    self.notes[out] = note
        return result

    def _spared(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with a copy of the first, which is about to be written to, in its place."""
        x = args[0]
        before, note = x.clone(), self.notes[x]
        if note.stretch is not None and note.stretch.root is x:
            note = replace(note, stretch=replace(note.stretch, root=before))
        self.notes[before] = note
        return (before, *args[1:])

    def _with_draws(
        self, func: Function, op: ops.Op | None, args: tuple[Any, ...], kwargs: dict[str, Any],
        tensors: list[Tensor], drawn: list[Tensor],
    ) -> Any:  # fmt: skip
        if len(drawn) < len({id(x) for x in tensors}):
            return self._masked(func, args, kwargs, drawn)
        known = {id(x): draw for x in drawn if (draw := self.notes[x].draw) is not None}
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            if isinstance(result, bool | int | float) and plain_name(func) in ("bool", "item", "float", "int"):
                raise PredictionError(f"forward chooses its way by a random number of {known[id(drawn[0])].name!r}")
            return result
        draw = derived(func, args, kwargs, known)
        if draw is not None:
            self._set_draw(result, draw)
        return result

    def _note(
        self, func: Function, op: ops.Op | None, args: tuple[Any, ...], kwargs: dict[str, Any],
        tensors: Sequence[Tensor], out: Tensor,
    ) -> Note | None:  # fmt: skip
        """What is known of ``out``, a result of the call; None if nothing is."""
        noisy = [(x, blame) for x in tensors if (blame := self.notes[x].blame) is not None]
        blame = self._blame(func, op, args, kwargs, noisy, out)
        if not self.copies.hold(out) or out.dim() < 2:
            return Note(blame)
        if isinstance(op, ops.Weight):
            return Note(blame, Stretch(out))
        if isinstance(op, ops.Concat) and _joins_channels(tensors, out):
            return Note(blame, parts=tuple(tensors))
        return Note(blame, self._stretch(func, op, args, kwargs, tensors, out))

    def _stretch(
        self, func: Function, op: ops.Op | None, args: tuple[Any, ...], kwargs: dict[str, Any],
        tensors: Sequence[Tensor], out: Tensor,
    ) -> Stretch | None:  # fmt: skip
        """The stretch that the call continues, if it does."""
        others = [x for x in tensors if x.dim() > 0 and x.shape[0] == out.shape[0]]
        live = [x for x in others if (stretch := self.notes[x].stretch) and (stretch.steps or len(others) == 1)]
        if len(live) != 1 or (isinstance(op, ops.Multiply) and len(others) > 1):
            return None
        x, stretch = live[0], self.notes[live[0]].stretch
        if stretch is None or not can_follow(op, x, out, others[1:]):
            return None
        return stretch.then(step_of(func, args, kwargs, x))

    def _blame(
        self, func: Function, op: ops.Op | None, args: tuple[Any, ...], kwargs: dict[str, Any],
        noisy: Sequence[tuple[Tensor, Blame]], out: Tensor,
    ) -> Blame | None:  # fmt: skip
        if not noisy:
            return None
        if len(noisy) > 1:
            return mixed([(blame, self.copies.energy(x)) for x, blame in noisy])
        x, blame = noisy[0]
        if isinstance(op, ops.Weight) and args and args[0] is x:
            return weighed(blame, func, args, kwargs, out, self.copies)
        return blame.through_weights() if isinstance(op, ops.MatMul | ops.Recurrent | ops.Attention) else blame


def _joins_channels(parts: Sequence[Tensor], out: Tensor) -> bool:
    """Whether ``parts`` lie side by side in ``out`` along axis 1."""
    rest = (out.shape[:1], out.shape[2:])
    return all((x.shape[:1], x.shape[2:]) == rest for x in parts) and out.shape[1] == sum(x.shape[1] for x in parts)
