"""What a run on synthetic input can end in."""

from __future__ import annotations

import os
import traceback
from types import CodeType

import torch

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_TORCHS = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep


class PredictionError(Exception):
    """A model of whose weights nothing can be read, with the reason."""


class PredictionFault(Exception):
    """A fault of dropcheck's own that keeps it from reading the weights of a model."""


def is_fault(error: BaseException, passing_on: CodeType) -> bool:
    """Whether ``error`` arose in what dropcheck does, not in what the model does.

    What torch raises is put down to who called it. ``passing_on`` is code of dropcheck's that calls torch in the
    model's stead.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    innermost = next((one for one in reversed(frames) if not one.f_code.co_filename.startswith(_TORCHS)), None)
    if innermost is None or innermost.f_code is passing_on:
        return False
    return innermost.f_code.co_filename.startswith(_OURS)
