"""Live models without their memory: constructors run with their tensors on the meta device.

Only values cost memory and time, and a captured graph does not depend on them. So a constructor's large tensors are
made without memory and initialisation is left out; small tensors and those that list numbers are real, since
constructors compute with them (a stochastic depth schedule, a relative position index).
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dropcheck.capture import construction_sites
from dropcheck.graph import Site
from dropcheck.load.failure import foreign, limited
from dropcheck.load.meta import MetaConstruction, NeedsValues, RealConstruction, untouched
from dropcheck.load.stubs import MissingPackage, blamed
from dropcheck.result import ErrorKind

_CONSTRUCT_HINT = "give constructor arguments it accepts, as in nets.py:Net(depth=20), or a function without arguments"
PATIENCE = 25.0
"""Seconds that one attempt to construct a model may take: it must leave time for the other models of the file."""

WORTH_A_GUESS = 6.0
"""Seconds that one with guessed arguments may compute: a depth that suits nobody can go on for ever."""

LARGE = 2**22
"""Parameters with more elements than this are filled with one number: drawing so many takes longer than the rest."""


@dataclass(frozen=True, slots=True)
class Built:
    """A model to trace, where its layers were constructed (by module path), and how to make it again, on the CPU.

    What ``again`` makes has memory, but what it holds is up to chance until weights are loaded into it, unless the
    model was built to be initialised.
    """

    model: nn.Module
    sites: Mapping[str, Site]
    again: Callable[[], nn.Module]

    def twin(self) -> nn.Module:
        """A model that can be run."""
        return filled(self.again())


def build(
    make: Callable[[], Any],
    what: str,
    file: str | None = None,
    *,
    initialised: bool = False,
    busy: float = math.inf,
) -> Built:
    """The model ``make`` constructs, on the meta device where that works, else on the CPU without initialisation.

    ``what`` names it in messages. ``initialised``: when it is made again, its weights are those its constructor makes.
    ``busy``: seconds that it may compute.

    Raises:
        LoadError: the constructor fails, or takes too long.
    """

    def again() -> nn.Module:
        with RealConstruction(draws=initialised), limited(math.inf if initialised else PATIENCE, busy):
            return _constructed(make, what, initialised)

    failure = f"constructing {what} failed"
    with foreign(ErrorKind.CONSTRUCT, failure, _CONSTRUCT_HINT, file), construction_sites() as built:
        model = _on_meta(make, busy)
        if model is None:
            model = again()
    return Built(model, built.by_path(model), again)


def adopt(model: nn.Module, sites: Mapping[str, Site]) -> Built:
    """A model the user's file has built itself."""

    def again() -> nn.Module:
        try:
            return deepcopy(model)
        except Exception:  # noqa: BLE001 - what cannot be copied is used itself: nobody needs it afterwards
            return model

    return Built(model, sites, again)


def _on_meta(make: Callable[[], Any], busy: float) -> nn.Module | None:
    """None where construction needs values, or fails for what may be the lack of them."""
    mode = MetaConstruction()
    try:
        with mode, limited(PATIENCE, busy):
            model = _constructed(make, "")
    except OSError:  # what is not there or cannot be reached is not there for real tensors either
        raise
    except (Exception, SystemExit, NeedsValues):  # noqa: BLE001 - tried again with real tensors, and reported then
        return None
    return None if mode.needed_values else model


def _constructed(make: Callable[[], Any], what: str, initialised: bool = False) -> nn.Module:
    seed()
    try:
        with nullcontext() if initialised else initialisation_skipped():
            model = make()
    except Exception as error:
        dotted = blamed(error)
        if dotted is None:
            raise
        raise MissingPackage(dotted).with_traceback(error.__traceback__) from error
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected an nn.Module, got {type(model).__name__}")
    return model


def seed() -> None:
    """Every construction draws the same random numbers."""
    torch.manual_seed(0)
    random.seed(0)
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(0)


@contextmanager
def initialisation_skipped() -> Iterator[None]:
    """While open, the functions of torch.nn.init give back their tensor as it is."""
    names = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    originals = {name: getattr(nn.init, name) for name in names}
    for name in names:
        setattr(nn.init, name, untouched)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(nn.init, name, original)


@torch.no_grad()
def filled(model: nn.Module) -> nn.Module:
    """Gives the model's parameters tame values, always the same: what memory happened to hold may be NaN.

    Weights are uniform in ±1/√fan_in, gains 1, biases 0; buffers keep their values, NaN becomes 0.
    """
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if not is_lazy(parameter) and parameter.is_floating_point() and not parameter.is_meta:
            _fill(name, parameter.data, generator)
    for buffer in model.buffers():
        if not is_lazy(buffer) and buffer.is_floating_point() and not buffer.is_meta:
            buffer.nan_to_num_(0.0, math.inf, -math.inf)
    return model


def _fill(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    if tensor.dim() < 2:
        tensor.fill_(0.0 if "bias" in name.rpartition(".")[2] else 1.0)
        return
    fan_in = max(1, tensor[0].numel()) if len(tensor) else 1
    if tensor.numel() > LARGE:
        tensor.fill_(1.0 / fan_in)
    else:
        bound = 1.0 / math.sqrt(fan_in)
        tensor.uniform_(-bound, bound, generator=generator)
