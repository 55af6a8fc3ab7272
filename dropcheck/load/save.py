"""Re-estimated running statistics into a copy of the file of weights they belong to."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dropcheck.load.checkpoint import Checkpoint, read, unwrapped
from dropcheck.load.failure import LoadError
from dropcheck.load.weights import without_prefix
from dropcheck.result import ErrorKind

Stat = Literal["both", "var"]

_STATISTICS = ("running_mean", "running_var")


def statistics_to_write(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """The running statistics of ``model`` under the names they have in the file it was loaded from."""
    own = model.state_dict()
    prefix, state = without_prefix(checkpoint.tensors, own)
    return {prefix + key: own[key] for key in state if key in own and key.rpartition(".")[2] in _STATISTICS}


def write_recalibrated(source: str, draft: str, statistics: Mapping[str, Tensor], stat: Stat) -> None:
    """Writes ``draft``: the file ``source``, whatever else it holds included, with other running statistics.

    It has the format of ``source`` (of PyTorch, its old one included, or safetensors), and tells those who look that
    it was recalibrated: the state dict's ``_metadata[""]["dropcheck"]`` is ``{"recalibrated": stat}``, a state dict
    that is a plain dict becoming an OrderedDict for it; the header of safetensors has
    ``"dropcheck": "recalibrated: both"``. Tensors come to lie on the CPU.

    Args:
        source: holds every key of ``statistics``.
        draft: a file that may be overwritten, named like the final one (``.safetensors`` or not).
        statistics: by the keys of the state dict; those equal to what the file holds are left as they are.

    Raises:
        LoadError: ``source`` cannot be read in whole without running it, or cannot hold the new numbers.
        OSError: ``draft`` cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source.endswith(".safetensors"):
            _write_safetensors(source, draft, statistics, stat)
        else:
            _write_pickled(source, draft, statistics, stat)
    _check(draft, source, statistics)


def _write_pickled(source: str, draft: str, statistics: Mapping[str, Tensor], stat: Stat) -> None:
    whole: Any = torch.load(source, map_location="cpu", weights_only=True)
    wrapped = unwrapped(os.path.basename(source), whole).wrapped
    holder, key = _place(whole, wrapped)
    state = whole if holder is None else holder[key]
    _replace(state, statistics, source)
    marked = _marked(state, stat)
    if holder is None:
        whole = marked
    else:
        holder[key] = marked
    with open(draft, "wb") as file:  # by its name, it would find its way into the archive
        torch.save(whole, file, _use_new_zipfile_serialization=zipfile.is_zipfile(source))


def _place(whole: Any, wrapped: tuple[str, ...]) -> tuple[Any, str]:
    """The mapping that holds the state dict, and its key there; None where the state dict is the whole."""
    if not wrapped:
        return None, ""
    for key in wrapped[:-1]:
        whole = whole[key]
    return whole, wrapped[-1]


def _replace(state: MutableMapping[str, Any], statistics: Mapping[str, Tensor], source: str) -> None:
    for key, new in statistics.items():
        old = state[key]
        fitting = new.detach().to("cpu", old.dtype)
        if not fitting.isfinite().all() and new.isfinite().all():
            raise LoadError(
                ErrorKind.CONSTRUCT,
                f"{os.path.basename(source)} holds {key} as {old.dtype}, too small for its new value",
                "save the weights in float32 before they are recalibrated",
            )
        if not torch.equal(fitting, old):
            state[key] = fitting.clone()


def _marked(state: MutableMapping[str, Any], stat: Stat) -> MutableMapping[str, Any]:
    """The state dict with the mark where ``Module.state_dict`` keeps versions, which ``load_state_dict`` hands on."""
    marked = state if isinstance(state, OrderedDict) else OrderedDict(state)
    metadata = OrderedDict(getattr(marked, "_metadata", None) or {})
    metadata[""] = {**metadata.get("", {}), "dropcheck": {"recalibrated": stat}}
    marked._metadata = metadata  # type: ignore[union-attr]
    return marked


def _write_safetensors(source: str, draft: str, statistics: Mapping[str, Tensor], stat: Stat) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as opened:
        metadata = dict(opened.metadata() or {})
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - it is no mapping
    _replace(tensors, statistics, source)
    save_file(tensors, draft, metadata={**metadata, "dropcheck": f"recalibrated: {stat}"})


def _check(draft: str, source: str, statistics: Mapping[str, Tensor]) -> None:
    """Raises LoadError if what was written does not read back."""
    again, before = read(draft).tensors, read(source).tensors
    lost = [key for key, tensor in before.items() if key not in again or again[key].shape != tensor.shape]
    wrong = [key for key, new in statistics.items() if not torch.equal(again[key], new.cpu().to(again[key].dtype))]
    if lost or wrong:
        message = f"the new file does not read back as written: {', '.join((lost + wrong)[:5])}"
        raise LoadError(ErrorKind.INTERNAL, message, "this is a fault of dropcheck, please report it")
