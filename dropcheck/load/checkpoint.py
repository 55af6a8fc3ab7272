"""A file of trained weights → its state dict. Nothing that a pickle asks to be run is run."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dropcheck.load.failure import LoadError
from dropcheck.result import ErrorKind

_SAVE = "torch.save(model.state_dict(), 'weights.pt')"
_FORMATS = f"expected .pt, .pth, .bin or .ckpt as {_SAVE} writes it, or .safetensors"
_ALONE = f"open it where you trust it, and save the state dict alone: {_SAVE}"

# What training scripts and libraries call the entry that holds the state dict, most telling first.
_WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
_DEEPEST = 4
_MOST_KEYS = 5
_ASKED_FOR = re.compile(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)")

Recalibrated = Literal["both", "var"]
"""Which running statistics were estimated again with dropout off: means and variances, or variances alone."""

_MARK = re.compile(r"recalibrated: (both|var)")  # in the header of a .safetensors file


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state dict, as it was saved.

    ``name`` is how messages call it, ``tensors`` what it holds, ``wrapped`` the keys it lay under, outermost first.
    ``recalibrated`` is the mark that recalibration leaves, without which statistics are taken to be those of training.
    """

    name: str
    tensors: Mapping[str, Tensor]
    wrapped: tuple[str, ...] = ()
    recalibrated: Recalibrated | None = None


def read(path: str) -> Checkpoint:
    """The state dict in a file; its tensors may be mapped from the file, and must not outlive a change of it.

    Raises:
        LoadError: there is no such file, it is in no known format, or it is a pickle of more than a state dict.
    """
    name = os.path.basename(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _safetensors(path) if path.endswith(".safetensors") else _pickled(path)
    except LoadError:
        raise
    except FileNotFoundError as error:
        raise LoadError(ErrorKind.CONFIG, f"there is no file {path}", "name the file of trained weights") from error
    except OSError as error:
        raise LoadError(ErrorKind.CONSTRUCT, f"{name} cannot be read: {error.strerror}", _FORMATS) from error
    except Exception as error:
        message, hint = _what_it_is(error)
        raise LoadError(ErrorKind.CONSTRUCT, f"{name} {message}", hint) from error
    return unwrapped(name, found)


def _what_it_is(error: Exception) -> tuple[str, str]:
    """What a file is that cannot be read for this reason, and what to try."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError):
        asked = _ASKED_FOR.search(text)
        if asked is None:
            return "is no state dict as torch.save writes it", _FORMATS
        return f"is no plain state dict: its pickle asks for {asked[1]}, refused", _ALONE
    if "TorchScript" in text:
        hint = "save the state dict alone: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"
        return "is a TorchScript archive, no state dict", hint
    first = next(iter(text.splitlines()), "")[:120]
    shown = ": ".join(part for part in (type(error).__name__, first) if part)
    return f"is damaged, or no file of weights at all ({shown})", _FORMATS


def _pickled(path: str) -> object:
    found: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    return found


def _safetensors(path: str) -> object:
    try:
        from safetensors import safe_open
        from safetensors.torch import load_file
    except ImportError as error:
        message = f"{os.path.basename(path)}: reading this format needs the package safetensors"
        raise LoadError(ErrorKind.IMPORT, message, "pip install 'dropcheck[weights]'") from error
    with safe_open(path, framework="pt") as file:
        mark = _MARK.fullmatch((file.metadata() or {}).get("dropcheck", ""))
    return _with_mark(load_file(path), mark[1] if mark else None)


def unwrapped(name: str, found: object) -> Checkpoint:
    """The state dict in what a checkpoint holds: itself, or an entry such as ``"state_dict"`` or ``"model"``.

    Raises:
        LoadError: there are no tensors in it.
    """
    wrapped: tuple[str, ...] = ()
    while isinstance(found, Mapping) and len(wrapped) < _DEEPEST:
        inner = next((key for key in _WRAPPERS if _may_hold_tensors(found.get(key))), None)
        if inner is None:
            break
        found, wrapped = found[inner], (*wrapped, inner)
    where = "".join(f"[{key!r}]" for key in wrapped)
    if not isinstance(found, Mapping):
        raise LoadError(ErrorKind.CONSTRUCT, f"{name}{where} is a {type(found).__name__}, no state dict", _ALONE)
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise LoadError(ErrorKind.CONSTRUCT, f"{name}{where} holds no tensors: {_keys(found)}", _ALONE)
    return Checkpoint(name, tensors, wrapped, mark_of(found))


def plain(weights: Mapping[Any, Any]) -> dict[Any, Any]:
    """The tensors of a checkpoint at their keys, and the mark: the rest could not be read again without running it."""
    kept = {key: plain(value) for key, value in weights.items() if isinstance(value, Mapping)}
    kept |= {key: value.detach() for key, value in weights.items() if isinstance(value, Tensor)}
    return _with_mark(kept, mark_of(weights))


def mark_of(state: Mapping[Any, Any]) -> Recalibrated | None:
    """What stands in the metadata that torch keeps beside a state dict, at the place of the whole model."""
    found: Any = getattr(state, "_metadata", None)
    for key in ("", "dropcheck", "recalibrated"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if found in ("both", "var") else None


def _with_mark(state: Mapping[Any, Any], mark: str | None) -> dict[Any, Any]:
    marked: Any = OrderedDict(state)
    if mark is not None:
        marked._metadata = {"": {"dropcheck": {"recalibrated": mark}}}
    return marked  # type: ignore[no-any-return]


def _may_hold_tensors(entry: object) -> bool:
    return isinstance(entry, Mapping) and any(isinstance(value, Tensor | Mapping) for value in entry.values())


def _keys(found: Mapping[Any, Any]) -> str:
    if not found:
        return "it is empty"
    more = f" and {len(found) - _MOST_KEYS} more" if len(found) > _MOST_KEYS else ""
    return f"its entries are {', '.join(map(repr, list(found)[:_MOST_KEYS]))}{more}"
