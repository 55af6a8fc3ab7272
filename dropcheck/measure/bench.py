"""A model made ready to be measured: forwards in the modes wanted, sums taken at every norm, and no trace left."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import deepcopy
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from dropcheck.capture.replica import random_state_kept
from dropcheck.measure.batches import Arguments
from dropcheck.measure.moments import Place, Sums, sums_of
from dropcheck.measure.norms import Norm, counting_nothing, norms_of
from dropcheck.simulate.untouched import set_flags, untouched
from dropcheck.table import MeasurementError


class Mode(Enum):
    """How a forward runs.

    ``TEST``: as evaluated, dropout off and running statistics in use. ``TRAIN``: as trained, dropout on and batch
    statistics in use. ``QUIET``: batch statistics in use, dropout off.
    """

    TEST = "test"
    TRAIN = "train"
    QUIET = "quiet"


class Bench:
    """A model on a device, with its norms.

    Raises:
        MeasurementError: there is no such device, no batch norm, or the model cannot be copied to the device.
    """

    def __init__(self, model: nn.Module, device: str | torch.device | None, amp: bool, seed: int) -> None:
        self.given = unwrapped(model)
        _refuse_empty(self.given)
        self.device = chosen_device(self.given, device)
        self.model = _on(self.given, self.device)
        self.amp, self.seed = amp, seed
        self.names = {module: name for name, module in self.model.named_modules()}
        self.flags = _flags(self.model)
        self.norms = norms_of(self.model, self.flags[Mode.TRAIN])
        self._seen: dict[Place, Sums] = {}
        self._calls: Counter[str] = Counter()
        self._buffers: list[tuple[Tensor, Tensor, int]] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """While it is open, :meth:`forward` works. Afterwards, and after any exception, the model is as it was."""
        with ExitStack() as stack:
            stack.enter_context(_generator_kept(self.device))
            stack.enter_context(untouched(self.model, self.seed))
            stack.enter_context(counting_nothing(self.norms))
            _seed(self.seed)  # for the data: random sampling and augmentation
            buffers = [buffer for buffer in self.model.buffers() if not buffer.is_inference()]
            self._buffers = [(buffer, buffer.clone(), buffer._version) for buffer in buffers]
            for norm in self.norms:
                stack.callback(self._watch(norm).remove)
            yield

    @torch.no_grad()
    def forward(
        self, arguments: Arguments, mode: Mode, draw: int, within: AbstractContextManager[object] | None = None
    ) -> dict[Place, Sums]:
        """The sums at every norm that a forward reaches.

        ``draw``: which random numbers it gets, whatever ran before. ``within``: entered around the forward alone.
        Raises what forward raises.
        """
        set_flags(self.flags[mode])
        self._seen, self._calls = {}, Counter()
        autocast = torch.autocast(self.device.type) if self.amp else nullcontext()
        try:
            given = arguments.copied()
            with random_state_kept(), autocast, within or nullcontext():
                _seed(self.seed * 1_000_003 + draw)
                self.model(*given.args, **given.kwargs)
        finally:
            if mode is not Mode.TEST:
                self._put_back()
        return self._seen

    def _watch(self, norm: Norm) -> RemovableHandle:
        return norm.module.register_forward_pre_hook(partial(self._take, norm.name), with_kwargs=True)

    def _take(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._calls[name] += 1
        self._seen[Place(name, self._calls[name])] = sums_of(args[0] if args else kwargs["input"])

    def _put_back(self) -> None:
        """The buffers that training changes, as they were: the next forward is to start from there, too."""
        for index, (buffer, value, version) in enumerate(self._buffers):
            if buffer._version != version:
                buffer.copy_(value)
                self._buffers[index] = (buffer, value, buffer._version)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel or torch.compile, none of which changes what it computes.

    Raises TypeError for what is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected an nn.Module, got {type(model).__name__}")
    while True:
        inner = model.module if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) else None
        inner = inner or model._modules.get("_orig_mod")
        if inner is None:
            return model
        model = inner


def _refuse_empty(model: nn.Module) -> None:
    """Raises MeasurementError for a model without weights: a forward would make some, and so change it."""
    for name, module in model.named_modules():
        own = (*module._parameters.values(), *module._buffers.values())
        if any(tensor is not None and is_lazy(tensor) for tensor in own):
            raise MeasurementError(
                f"{type(module).__name__} {name!r} has never seen a batch",
                "run the model once, or load trained weights, so that its layers know their sizes",
            )
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise MeasurementError("the model has no weights (it is on the meta device)", "give it weights, then measure")


def chosen_device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Where to run: the model's own device for None; for ``auto`` an accelerator if there is one.

    Raises:
        MeasurementError: there is no such device.
    """
    if device is None:
        tensors = (*model.parameters(), *model.buffers())
        return tensors[0].device if tensors else torch.device("cpu")
    own = chosen_device(model, None)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise MeasurementError(f"there is no device {device!r}", "choose auto, cpu, cuda or mps") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise MeasurementError("there is no CUDA device here", "measure on the CPU: device='cpu', or auto")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise MeasurementError(f"there is no device {device!r}", f"there are {torch.cuda.device_count()} CUDA devices")
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise MeasurementError("there is no MPS device here", "measure on the CPU: device='cpu', or auto")
    if wanted.index is None and own.type == wanted.type:
        return own
    return (
        torch.device("cuda", torch.cuda.current_device()) if wanted.type == "cuda" and wanted.index is None else wanted
    )


def _on(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself where it is on the device already, else a copy: the given one stays where it is."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if device in devices or not devices:
        return model
    try:
        return deepcopy(model).to(device)
    except Exception as error:
        raise MeasurementError(
            f"the model cannot be copied to {device}: {type(error).__name__}: {error}",
            f"move it there yourself (model.to('{device.type}')), or measure on {next(iter(devices))}",
        ) from error


def _flags(model: nn.Module) -> dict[Mode, dict[nn.Module, bool]]:
    """The flag of every submodule in each mode.

    A model in evaluation mode trains as ``model.train()`` leaves it; what a model in training mode holds in
    evaluation mode stays so.
    """
    with untouched(model):
        if not model.training:
            model.train()
        train = {module: module.training for module in model.modules()}
        model.eval()
        test = {module: module.training for module in model.modules()}
    quiet = {module: train[module] if isinstance(module, _BatchNorm) else test[module] for module in train}
    return {Mode.TEST: test, Mode.TRAIN: train, Mode.QUIET: quiet}


def _seed(seed: int) -> None:
    """Every random number generator a forward may use. Nothing is queued for devices that are not in use yet."""
    torch.default_generator.manual_seed(seed % 2**63)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed % 2**63)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed % 2**63)
    random.seed(seed)
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(seed % 2**32)


@contextmanager
def _generator_kept(device: torch.device) -> Iterator[None]:
    """The generators of an accelerator, which other code leaves alone until they are in use."""
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
    state = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        yield
    finally:
        if state is not None:
            torch.mps.set_rng_state(state)
