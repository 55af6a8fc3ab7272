"""The run itself: intercepts what torch is asked to do while the copies pass through the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.catalogue import module_row
from dropcheck.capture.tensors import tensors_in
from dropcheck.simulate.blame import dropped, dropped_behind
from dropcheck.simulate.called import Called
from dropcheck.simulate.chance import Chance
from dropcheck.simulate.copies import Copies
from dropcheck.simulate.failure import PredictionError
from dropcheck.simulate.following import note_on
from dropcheck.simulate.inner import without_dropout
from dropcheck.simulate.masks import affine
from dropcheck.simulate.norms import Measured, Norms
from dropcheck.simulate.notes import Note, Notes
from dropcheck.simulate.where import Whereabouts

_BLOCK = 7
"""Side of the squares of block dropout where the layer does not say."""

Function = Callable[..., Any]


class MaskedRun(TorchFunctionMode):
    """While it is open, forward runs on masked copies; ``found`` then holds Δ by norm."""

    def __init__(
        self, model: nn.Module, where: Whereabouts, copies: Copies, always_on: Set[str], judged: Set[str]
    ) -> None:
        super().__init__()
        self.model, self.where, self.copies, self.always_on = model, where, copies, always_on
        self.notes = Notes()
        self.chance = Chance(copies, self.notes)
        self.found: dict[str, Measured] = {}
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
        call = Called(func, args, kwargs or {}, self.where.node(func, args))
        if isinstance(call.op, ops.Dropout):
            return self._dropout(call, call.op)
        if call.kind == "batch_norm":
            return self.norms.batch_norm(call.node, *call.args, **call.kwargs)
        if call.kind == "instance_norm":
            return self.norms.instance_norm(call.node, *call.args, **call.kwargs)
        if call.is_random and call.node not in self.always_on:
            return self.chance.draw(call)
        if (quiet := without_dropout(call)) is not None:
            return self._inner(call, quiet)
        return self._followed(call)

    # Dropout ---------------------------------------------------------------------------------------------------

    def _dropout(self, call: Called, op: ops.Dropout) -> Any:
        x = call.tensors[0]
        if op.drop_rate == 0.0 or not call.is_on:
            return x
        if call.node in self.always_on:
            return self._followed(call)
        out = self.drop(x, op, call.node)
        # Written to a root, it would be taken for the weight layer's output.
        return x.copy_(out) if call.writes and self.notes[x].stretch is None else out

    def _stand_in(self, module: nn.Module, op: ops.Dropout) -> Function:
        """A forward for another library's dropout."""
        exact: Function = module.forward

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            node = self.where.node(forward)
            if node in self.always_on:
                return exact(x, *args, **kwargs)
            block = int(getattr(module, "block_size", _BLOCK))
            with torch._C.DisableTorchFunction():  # what happens here is no call of the model's
                return self.drop(x, op, node, block, getattr(module, "scale_by_keep", True) is not False)

        return forward

    def drop(self, x: Tensor, op: ops.Dropout, node: str, block: int = _BLOCK, scaled: bool = True) -> Tensor:
        """``x`` behind a dropout that spares the clean copy."""
        if not self.copies.hold(x):
            raise PredictionError(f"the dropout {node!r} does not get the batch along axis 0")
        factor, offset = affine(x, op, self.copies, block, scaled)

        def step(values: Tensor, rows: slice) -> Tensor:
            return values * factor[rows] if offset is None else torch.addcmul(offset[rows], values, factor[rows])

        out = step(x, slice(None))
        note, stretch = self.notes[x], self.notes[x].stretch
        blame = dropped_behind(note.blame, x, out, node, op.granularity is ops.Granularity.ELEMENT, self.copies)
        known = offset is None and scaled and op.granularity is not ops.Granularity.BLOCK and op.drop_rate < 1.0
        gain = 1.0 / (1.0 - op.drop_rate) if known else None
        self.notes[out] = Note(blame, None if stretch is None else stretch.then(step, gain))
        return out

    def _inner(self, call: Called, quiet: Called) -> Any:
        """A call with a dropout inside: what it does without goes to the clean copy."""
        result = self._followed(call)
        if call.node in self.always_on:
            return result
        for noisy, clean in zip(tensors_in(result), tensors_in(quiet.run()), strict=True):
            axes = (axis for axis in range(min(2, noisy.dim())) if self.copies.hold(noisy.transpose(0, axis)))
            axis = next(axes, None)
            if axis is not None and noisy.is_floating_point():
                self.copies.clean(noisy.transpose(0, axis)).copy_(self.copies.clean(clean.transpose(0, axis)))
                blame = self.notes[noisy].blame
                # How much of the noise is its own is not known: half.
                self.notes[noisy] = Note(dropped(blame, call.node, 0.0 if blame is None else 0.5, fresh=False))
        return result

    # Everything else -------------------------------------------------------------------------------------------

    def _followed(self, call: Called) -> Any:
        drawn = [x for x in call.tensors if self.notes[x].draw is not None]
        if drawn:
            return self.chance.follow(call, drawn)
        before = self._spared(call) if call.writes and call.args and call.tensors else call
        result = call.run()
        for out in tensors_in(call.tensors[0] if result is None and call.writes else result):
            if out.is_floating_point() and out.dim() > 0:
                self.notes[out] = note_on(out, before, self.notes, self.copies)
        return result

    def _spared(self, call: Called) -> Called:
        """A call about to write to its first argument, as it reads with a copy of that argument in its place."""
        x, note = call.tensors[0], self.notes[call.tensors[0]]
        if call.args[0] is not x or note.stretch is None:
            return call
        before = x.clone()
        if note.stretch.root is x:
            note = replace(note, stretch=replace(note.stretch, root=before))
        self.notes[before] = note
        return replace(call, args=(before, *call.args[1:]))
