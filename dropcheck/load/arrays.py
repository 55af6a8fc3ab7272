"""Files of arrays, and what stands for them in memory → tensors by name."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dropcheck.load.failure import LoadError
from dropcheck.result import ErrorKind

_LABELS = frozenset({"y", "label", "labels", "target", "targets", "y_train", "y_test", "train_labels", "test_labels"})
_SAVE = "np.savez('data.npz', x=inputs), np.save('data.npy', inputs) or torch.save(inputs, 'data.pt')"
_MOST_NAMES = 8


def read_arrays(path: str) -> dict[str, Tensor]:
    """The arrays of a ``.npy``, ``.npz`` or ``.pt`` file, labels last. Nothing that a pickle asks to be run is run.

    Raises:
        LoadError: there is no such file, or it holds something else than arrays of numbers with as many samples each.
    """
    name = os.path.basename(path)
    try:
        found = _pickled(path) if path.endswith((".pt", ".pth")) else _arrays(path)
    except FileNotFoundError as error:
        raise LoadError(
            ErrorKind.CONFIG, f"there is no file {path}", "name a .npz, .npy or .pt file of inputs"
        ) from error
    except LoadError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error
    return tensors_by_name(name, found)


def tensors_by_name(name: str, found: Any) -> dict[str, Tensor]:
    """The tensors in a tensor, tuple, list or mapping, labels last; those without names are numbered.

    Raises:
        LoadError: there is something else, or they do not hold as many samples each.
    """
    return _checked(name, _named(name, found))


def holds_tensors_alone(found: Any) -> bool:
    """Whether it is a tuple, list or mapping of tensors, of one at least."""
    if not isinstance(found, tuple | list | Mapping):
        return False
    values = list(found.values() if isinstance(found, Mapping) else found)
    return bool(values) and all(isinstance(one, Tensor) for one in values)


def _pickled(path: str) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _arrays(path: str) -> Any:
    try:
        import numpy as np
    except ImportError as error:
        message = f"{os.path.basename(path)}: reading this format needs numpy"
        raise LoadError(ErrorKind.IMPORT, message, "pip install numpy, or save the data with torch.save") from error
    if path.endswith(".npy"):
        return _tensor(os.path.basename(path), np.load(path, mmap_mode="r", allow_pickle=False))
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as opened:
        if not hasattr(opened, "files"):
            raise ValueError("it is a single array under the name of an archive")
        return {key: _tensor(f"{os.path.basename(path)}[{key!r}]", opened[key]) for key in opened.files}


def _tensor(what: str, array: Any) -> Tensor:
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is mapped from a file that cannot be written, and never is
            return torch.from_numpy(native)
    except TypeError as error:
        message = f"{what} holds values of dtype {array.dtype}, expected numbers"
        raise LoadError(ErrorKind.MEASURE, message, f"save the inputs as they enter the model: {_SAVE}") from error


def _unreadable(name: str, error: Exception) -> LoadError:
    text = next(iter(str(error).splitlines()), "")[:160]
    if "allow_pickle" in text or "Python objects" in text or isinstance(error, pickle.UnpicklingError):
        message = f"{name} holds Python objects, and unpickling them would run code: refused"
        return LoadError(ErrorKind.MEASURE, message, f"save plain arrays: {_SAVE}")
    kind = type(error).__name__
    return LoadError(
        ErrorKind.MEASURE, f"{name} is damaged, or no file of arrays ({kind}: {text})", f"save it with {_SAVE}"
    )


def _named(name: str, found: Any) -> dict[str, Tensor]:
    """The tensors by name, those of a tuple by number, labels last."""
    if isinstance(found, Tensor):
        return {"0": found}
    if isinstance(found, tuple | list):
        found = {str(number): one for number, one in enumerate(found)}
    if not holds_tensors_alone(found):
        message = f"{name} holds {kind_of(found)}, expected a tensor, or several in a tuple or dict"
        raise LoadError(ErrorKind.MEASURE, message, f"save the inputs alone: {_SAVE}")
    return {str(key): found[key] for key in sorted(found, key=lambda key: str(key).lower() in _LABELS)}


def _checked(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Raises LoadError unless there are samples, as many in every tensor."""
    shapes = {key: f"{key}: {'x'.join(map(str, one.shape)) or 'a scalar'}" for key, one in tensors.items()}
    shown = shapes["0"][3:] if list(tensors) == ["0"] else ", ".join(list(shapes.values())[:_MOST_NAMES])
    lengths = {len(one) if one.dim() > 0 else None for one in tensors.values()}
    if None in lengths or len(lengths) > 1:
        message = f"{name} holds arrays of different lengths ({shown}); axis 0 of each counts the samples"
        raise LoadError(ErrorKind.MEASURE, message, f"save inputs with a first axis of samples: {_SAVE}")
    if lengths == {0}:
        raise LoadError(ErrorKind.MEASURE, f"{name} is empty ({shown})", "give at least two samples")
    odd = [key for key, one in tensors.items() if one.layout is not torch.strided or one.is_quantized]
    if odd:
        message = f"{name} holds sparse or quantized tensors: {', '.join(odd[:_MOST_NAMES])}"
        raise LoadError(ErrorKind.MEASURE, message, "save them dense, as they enter the model")
    return tensors


def kind_of(found: object) -> str:
    """What it is, for messages: ``a list with a str in it``."""
    if isinstance(found, Mapping):
        other = next(
            (f"{_one(value)} as {key!r}" for key, value in found.items() if not isinstance(value, Tensor)),
            "",
        )
        return f"a dict with {other}" if other else "an empty dict"
    if isinstance(found, tuple | list):
        other = next((_one(value) for value in found if not isinstance(value, Tensor)), "nothing")
        return f"a {type(found).__name__} with {other} in it"
    return "nothing (None)" if found is None else _one(found)


def _one(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"
