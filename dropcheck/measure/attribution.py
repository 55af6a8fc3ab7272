"""Which dropout causes which shift: one is switched off at a time, all others staying on with the same masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dropcheck import ops
from dropcheck.capture.calls import Call
from dropcheck.capture.catalogue import module_row
from dropcheck.measure.batches import Arguments
from dropcheck.measure.bench import Bench, Mode
from dropcheck.measure.distributed import Ranks
from dropcheck.measure.feeding import Seen
from dropcheck.measure.moments import Collected, Place, Sums
from dropcheck.measure.norms import Norm, using
from dropcheck.measure.rows import Readout, channel_mean, statistics_of, usable_channels
from dropcheck.shift import shift_ratio
from dropcheck.simulate.called import Called
from dropcheck.simulate.inner import without_dropout
from dropcheck.simulate.where import Whereabouts
from dropcheck.table import MeasuredSource, quotient

LEAST = 0.005
"""What switching a dropout off must take off |log Δ|, at least, for it to be told."""
_LARGEST = math.log(1e6)


class Attribution:
    """Measures what each dropout contributes.

    For every dropout there is a forward as in training with that dropout off, and one as in evaluation in which the
    norms use the statistics of the former: so evaluation would be, with the same weights, had there been no such
    dropout. What |log Δ| loses by that is the dropout's part, compared with the same two forwards with all dropouts on.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.where = Whereabouts(bench.model)
        self.by_class = dict(_foreign_dropouts(bench.model))
        self.dropouts: dict[str, None] | None = None
        self.pairs: dict[str | None, tuple[Collected, Collected]] = {}

    def measure(self, arguments: Arguments, draw: int, full: Mapping[Place, Sums]) -> list[Seen]:
        """The forwards for one batch; ``full`` is what training has seen of it with all dropouts on."""
        if self.dropouts is None:
            self.dropouts = dict.fromkeys(self._found(arguments, draw))
        seen: list[Seen] = []
        for off in (None, *self.dropouts):
            train = full if off is None else self.bench.forward(arguments, Mode.TRAIN, draw, self._silent(off))
            with using(statistics_of(self.bench.norms, train)):
                test = self.bench.forward(arguments, Mode.TEST, draw)
            pair = self.pairs.setdefault(off, (Collected(), Collected()))
            seen += zip(pair, (test, train), strict=True)
        return seen

    def sources(self, ranks: Ranks) -> dict[str, tuple[MeasuredSource, ...]]:
        """The dropouts behind the shift of each norm, the largest share first. All processes have to call it."""
        readouts: dict[str | None, tuple[Readout, Readout]] = {}
        for off in dict.fromkeys(off for names in ranks.everyones(list(self.pairs)) for off in names):
            test, train = self.pairs.get(off, (Collected(), Collected()))
            device = self.bench.device
            readouts[off] = Readout(ranks.merged(test, device)), Readout(ranks.merged(train, device))
        return {norm.name: tuple(_sources(norm, readouts)) for norm in self.bench.norms}

    def notes(self) -> Iterator[str]:
        if self.dropouts is not None and not self.dropouts:
            yield "no dropout is on while the model trains, or none that can be switched off by itself"

    def _found(self, arguments: Arguments, draw: int) -> Iterator[str]:
        """The dropouts that are on in training and off in evaluation, as training meets them."""
        on = _Listening(self.where, self.by_class)
        self.bench.forward(arguments, Mode.TRAIN, draw, on.listening())
        always = _Listening(self.where, self.by_class)
        self.bench.forward(arguments, Mode.TEST, draw, always.listening())
        return (name for name in on.heard if name not in always.heard)

    def _silent(self, dropout: str) -> Any:
        return _Listening(self.where, self.by_class, dropout).listening()


class _Listening(TorchFunctionMode):
    """Hears every dropout that is on, and takes away what ``silent`` does, though not the random numbers it draws."""

    def __init__(self, where: Whereabouts, by_class: Mapping[str, nn.Module], silent: str | None = None) -> None:
        super().__init__()
        self.where, self.by_class, self.silent = where, by_class, silent
        self.heard: dict[str, None] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For one forward."""
        replaced = [module for module in self.by_class.values() if "forward" not in vars(module)]
        try:
            for name, module in self.by_class.items():
                if module in replaced:
                    vars(module)["forward"] = self._stand_in(name, module.forward, module)
            with self.where.watching(), self:
                yield
        finally:
            for module in replaced:
                vars(module).pop("forward", None)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Called(func, args, kwargs or {}, self.where.node(func, args))
        name = call.node.partition("@")[0]
        if isinstance(call.op, ops.Dropout):
            if call.op.drop_rate == 0.0 or not call.is_on:
                return call.run()
            self.heard[name] = None
            return self._undone(call) if name == self.silent else call.run()
        quiet = without_dropout(call)
        if quiet is None:
            return call.run()
        self.heard[name] = None
        result = call.run()
        return quiet.run() if name == self.silent else result

    def _undone(self, call: Called) -> Tensor:
        """The dropout's input, after the dropout has drawn its mask."""
        x = call.tensors[0]
        before = x.clone()
        call.run()
        return x.copy_(before) if call.writes else before

    def _stand_in(self, name: str, exact: Callable[..., Any], module: nn.Module) -> Callable[..., Any]:
        """A forward for another library's dropout."""

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not module.training:
                return exact(x, *args, **kwargs)
            self.heard[name] = None
            before = x.clone()
            result = exact(x, *args, **kwargs)
            return before if name == self.silent else result

        return forward


def _foreign_dropouts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Dropout layers of other libraries, known by class, that drop anything: DropPath and the like."""
    for name, module in model.named_modules():
        known = None if type(module).__module__.startswith("torch.nn.") else module_row(module)
        op = None if known is None else known[1](Call(known[0], "", module=module))
        if isinstance(op, ops.Dropout) and op.drop_rate > 0.0:
            yield name, module


def _sources(norm: Norm, readouts: Mapping[str | None, tuple[Readout, Readout]]) -> Iterator[MeasuredSource]:
    deltas = {off: _delta(norm, *pair) for off, pair in readouts.items()}
    full = deltas.pop(None, None)
    if full is None:
        return
    gains = {off: _distance(full) - _distance(delta) for off, delta in deltas.items() if off and delta is not None}
    told = {off: gain for off, gain in gains.items() if gain >= LEAST}
    for off, gain in sorted(told.items(), key=lambda one: -one[1]):
        yield MeasuredSource(off, gain / sum(told.values()), deltas[off])


def _delta(norm: Norm, test: Readout, train: Readout) -> float | None:
    now, then = test.level(norm.name), train.level(norm.name)
    if now is None or then is None:
        return None
    usable = usable_channels(norm, now, then)
    return quotient(channel_mean(now.var, usable), channel_mean(then.var, usable))


def _distance(delta: float) -> float:
    """|log Δ|, within reason."""
    return min(math.log(shift_ratio(delta)), _LARGEST) if delta > 0.0 else _LARGEST
