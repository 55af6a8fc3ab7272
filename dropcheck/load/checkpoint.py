"""A file of trained weights → its state dict. Nothing that a pickle asks to be run is run."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state dict, as it was saved.

    ``name`` is how messages call it, ``tensors`` what it holds, ``wrapped`` the keys it lay under, outermost first.
    """

    name: str
    tensors: Mapping[str, Tensor]
    wrapped: tuple[str, ...] = ()


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
        from safetensors.torch import load_file
    except ImportError as error:
        message = f"{os.path.basename(path)}: reading this format needs the package safetensors"
        raise LoadError(ErrorKind.IMPORT, message, "pip install 'dropcheck[weights]'") from error
    return load_file(path)


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
    return Checkpoint(name, tensors, wrapped)


def _may_hold_tensors(entry: object) -> bool:
    return isinstance(entry, Mapping) and any(isinstance(value, Tensor | Mapping) for value in entry.values())


def _keys(found: Mapping[Any, Any]) -> str:
    if not found:
        return "it is empty"
    more = f" and {len(found) - _MOST_KEYS} more" if len(found) > _MOST_KEYS else ""
    return f"its entries are {', '.join(map(repr, list(found)[:_MOST_KEYS]))}{more}"
