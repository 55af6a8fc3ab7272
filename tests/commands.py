"""Commands as a user gives them, run in the tests' process as far as the main process goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from dropcheck.job import Outcome


class Answer(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        return self.err.splitlines()

    @property
    def model(self) -> Any:
        """The one model of a JSON report."""
        (model,) = (model for model in json.loads(self.out)["models"] if model["status"] != "skipped")
        return model


Command = Callable[..., Answer]
Load = Callable[..., Outcome]
