"""This process among those that torchrun, or whoever sets its environment variables, has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist
from torch import nn

from dropcheck.job import are_several
from dropcheck.load.failure import LoadError
from dropcheck.measure.bench import chosen_device
from dropcheck.measure.distributed import TIMEOUT
from dropcheck.result import ErrorKind
from dropcheck.table import MeasurementError


@contextmanager
def together(device: str) -> Iterator[str]:
    """While it is open, torch.distributed connects the processes; inside, the device this one is to use.

    Every process gets a GPU of its own and they talk by NCCL; they talk by gloo on the CPU, and where there are more
    processes than GPUs. On its own a process connects to none.

    Raises:
        LoadError: there is no such device, or the others were not found.
    """
    try:
        chosen = chosen_device(nn.Identity(), device)
    except MeasurementError as error:
        raise LoadError(ErrorKind.CONFIG, f"--device {device}: {error.message}", error.hint) from error
    if not are_several(os.environ):
        yield device
        return
    backend = "gloo"
    if chosen.type == "cuda":
        local, own = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        backend = "nccl" if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= own and dist.is_nccl_available() else "gloo"
        chosen = torch.device("cuda", local % own)
        torch.cuda.set_device(chosen)
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
    except (RuntimeError, ValueError, OSError) as error:
        line = str(error).strip().partition("\n")[0]
        message = f"the processes that measure together did not find each other: {line}"
        raise LoadError(
            ErrorKind.MEASURE, message, "start them with torchrun --nproc-per-node N -m dropcheck"
        ) from error
    try:
        yield str(chosen)
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()
