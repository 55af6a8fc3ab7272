"""A state dict into its model: names made to agree, everything or nothing loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dropcheck.load.checkpoint import Checkpoint
from dropcheck.load.failure import LoadError, described
from dropcheck.result import ErrorKind

# What DataParallel, Lightning modules, torch.compile and wrappers of one's own put before every name.
_PREFIXES = ("module.", "model.", "net.", "_orig_mod.", "backbone.")
DISPENSABLE = ("num_batches_tracked", "_extra_state", "n_averaged")
_MOST_KEYS = 5
_MOST_PAIRS = 3
_WHOLE = "nothing is loaded in part: name the model the file was saved from, with the arguments it was trained with"


@dataclass(frozen=True, slots=True)
class _Misfit:
    """The keys that keep a state dict from fitting; ``reshaped`` have both shapes, the file's first."""

    missing: Sequence[str]
    unexpected: Sequence[str]
    reshaped: Mapping[str, tuple[torch.Size, torch.Size]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)


def fit(model: nn.Module, checkpoint: Checkpoint, what: str) -> str:
    """Loads a checkpoint into ``model``, which from then on uses the checkpoint's own tensors.

    ``what`` names the model in messages. The answer says where the weights come from, what they were wrapped in and
    which prefix their names lost: ``net.pt['state_dict'] without 'module.'``.

    Raises:
        LoadError: a key is missing, unexpected or of another shape, or a tensor has no plain values.
    """
    own = model.state_dict(keep_vars=True)
    prefix, state = without_prefix(checkpoint.tensors, own)
    odd = [key for key, tensor in state.items() if not _is_plain(tensor)]
    if odd:
        raise LoadError(
            ErrorKind.CONSTRUCT,
            f"{checkpoint.name} holds tensors that are sparse, quantized or without values: {_listed(odd)}",
            "save the weights as the dense floating-point tensors they were trained as",
        )
    state = {key: _typed(tensor, own.get(key)) for key, tensor in (state | _tied(state, own)).items()}
    misfit = _load(model, state, own, checkpoint.name, what)
    if misfit:
        raise LoadError(ErrorKind.CONSTRUCT, _message(misfit, checkpoint.name, what, len(state)), _hint(misfit))
    where = checkpoint.name + "".join(f"[{key!r}]" for key in checkpoint.wrapped)
    return f"{where} without {prefix!r}" if prefix else where


def without_prefix(tensors: Mapping[str, Tensor], own: Collection[str]) -> tuple[str, dict[str, Tensor]]:
    """The prefix that all keys share and the model's do not, and the state dict without it.

    Every way of taking known prefixes off is tried, and the one that leaves most keys the model knows is kept.
    """
    state = {key: tensor for key, tensor in tensors.items() if key != "n_averaged" or key in own}
    tries = [("", state)]
    while prefix := next((one for one in _PREFIXES if state and all(key.startswith(one) for key in state)), ""):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
        tries.append((tries[-1][0] + prefix, state))
    return max(tries, key=lambda one: sum(key in own for key in one[1]))


def _tied(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is missing only because the model shares it with another key: some formats keep one of the two."""
    present = {id(own[key]): tensor for key, tensor in state.items() if key in own}
    return {key: present[id(tensor)] for key, tensor in own.items() if key not in state and id(tensor) in present}


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta


def _typed(tensor: Tensor, own: Tensor | None) -> Tensor:
    """In the model's own precision: half of it is often saved."""
    tensor = tensor.detach()
    return tensor if own is None or is_lazy(own) else tensor.to(own.dtype)


def _load(model: nn.Module, state: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str, what: str) -> _Misfit:
    """Loads what fits, and tells what does not."""
    try:  # not by the class's own load_state_dict: that may insist on being strict
        told = nn.Module.load_state_dict(model, state, strict=False, assign=True)
        missing, unexpected, reshaped = told.missing_keys, told.unexpected_keys, {}
    except Exception as error:
        reshaped = dict(_reshaped(state, own))
        if not reshaped:
            message = f"loading {name} into {what} failed: {described(error)}"
            raise LoadError(ErrorKind.CONSTRUCT, message, _WHOLE) from error
        missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
    return _Misfit(_needed(missing), _needed(unexpected), reshaped)


def _reshaped(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[tuple[str, tuple[torch.Size, torch.Size]]]:
    for key, tensor in own.items():
        if key in state and not is_lazy(tensor) and state[key].shape != tensor.shape:
            yield key, (state[key].shape, tensor.shape)


def _needed(keys: Sequence[str]) -> list[str]:
    return [key for key in keys if not key.endswith(DISPENSABLE)]


def _message(misfit: _Misfit, name: str, what: str, entries: int) -> str:
    """Which keys do not fit, at most _MOST_KEYS of each sort by name."""
    if len(misfit.unexpected) == entries:
        theirs, ours = _listed(misfit.unexpected), _listed(misfit.missing) or "nothing"
        return f"{name} does not fit {what}: none of its keys is the model's; it holds {theirs}, the model wants {ours}"
    shapes = [f"{key} ({_shape(theirs)}, not {_shape(ours)})" for key, (theirs, ours) in misfit.reshaped.items()]
    sorts = (("missing", misfit.missing), ("unexpected", misfit.unexpected), ("of another shape", shapes))
    return f"{name} does not fit {what}: " + "; ".join(f"{sort} {_listed(keys)}" for sort, keys in sorts if keys)


def _hint(misfit: _Misfit) -> str:
    """The keys of the file that come closest to those that are missing."""
    found = ((key, get_close_matches(key, misfit.unexpected, n=1)) for key in misfit.missing[:_MOST_KEYS])
    pairs = [f"closest to {key} is {close[0]}" for key, close in found if close]
    return "; ".join([*pairs[:_MOST_PAIRS], _WHOLE])


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    return ", ".join(keys[:_MOST_KEYS]) + more


def _shape(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "scalar"
