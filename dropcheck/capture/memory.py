"""How much memory a run may take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch import nn
from torch.nn.parameter import is_lazy

_MANY = 300_000_000


def is_large(model: nn.Module) -> bool:
    """Whether a model has so many parameters that one does not want a copy of them."""
    return sum(0 if is_lazy(one) else one.numel() for one in model.parameters()) > _MANY


@contextmanager
def at_most(extra: int | None) -> Iterator[None]:
    """While open, the process gets no more than ``extra`` bytes besides those it has; None: as many as there are.

    On Linux, for a process of one's own: all its threads are concerned.
    """
    if extra is None or sys.platform != "linux":
        yield
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + extra
    limits = [limit for limit in (wanted, *before) if limit != resource.RLIM_INFINITY]
    with suppress(ValueError, OSError):  # where limits cannot be set there are none
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), before[1]))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, before)


def is_exhausted(error: Exception) -> bool:
    """Whether a run failed because it got no more memory."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
