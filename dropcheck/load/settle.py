"""Running statistics for data that a model was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropcheck.load.failure import foreign
from dropcheck.result import ErrorKind

_BATCHES = 16
UNTRAINED = (
    "these are weights of initialisation, whose shifts say little about those of a trained network; give trained ones "
    "with --weights"
)
_NOTE = (
    "the data are synthetic: running statistics were estimated on them first, dropout on, so moving_var and mean shift "
    "are not those of the weights; measure on real data with --data"
)


def is_untrained(model: nn.Module) -> bool:
    """Whether it has batch norms with running statistics, all of them those that new ones start with."""
    pairs = ((one.running_mean, one.running_var) for one in model.modules() if isinstance(one, _BatchNorm))
    stored = [(mean, var) for mean, var in pairs if mean is not None and var is not None]
    return bool(stored) and all(not mean.any() and torch.equal(var, torch.ones_like(var)) for mean, var in stored)


def settled_on(model: nn.Module, batches: Iterable[Any], limit: int | None = None) -> tuple[str, ...]:
    """Gives the batch norms of ``model`` the running statistics that training on these data would leave, weights
    unchanged: those of other data would shift everything. Says so in a note.

    ``limit``: batches to run at most.

    Raises:
        LoadError: forward fails on them.
    """
    was = {module: module.training for module in model.modules()}
    trained = model if model.training else model.train()  # what is held in evaluation mode there stays frozen
    norms = [one for one in trained.modules() if isinstance(one, _BatchNorm) and one.training]
    norms = [one for one in norms if one.track_running_stats and one.running_var is not None]
    momenta = [one.momentum for one in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
    torch.manual_seed(0)
    hint = "give data with --data, or the shape of an input as in --input 2x3x32x32"
    with foreign(ErrorKind.MEASURE, "its forward fails on synthetic noise", hint), torch.no_grad():
        for batch in islice(batches, min(_BATCHES, limit or _BATCHES)):
            trained(**batch) if isinstance(batch, dict) else trained(*batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, flag in was.items():
        module.training = flag
    return (_NOTE,) if norms else ()
