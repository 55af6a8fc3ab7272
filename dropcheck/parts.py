"""Classes that are a part of a model in another file: the model is what is judged, with the arguments it gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dropcheck.engine import Examined
from dropcheck.items import Item
from dropcheck.job import CapturedModel
from dropcheck.result import AnalysisError, ModelReport, Status


@dataclass(frozen=True, slots=True)
class Users:
    """Who uses what, across the files of a run. ``models`` maps the target of a class to that of a model it is part of,
    ``files`` an imported name, as (last part of the module, name), to a file some model of which was analysed.
    ``asked`` are the targets that somebody wants judged by themselves.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[tuple[str, str], str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, captured: Iterable[CapturedModel], items: Sequence[Item]) -> Users:
        models: dict[str, str] = {}
        analysed = [one for one in captured if one.status is Status.ANALYSED]
        for one in sorted(analysed, key=lambda one: (-len(one.parts), one.target)):
            for part in one.parts:
                if part != one.target and models.get(one.target) != part:
                    models.setdefault(part, one.target)
        alive = {_file(one.target) for one in analysed}
        files = {
            imported: item.file
            for item in items
            if item.file in alive and item.file is not None and item.seen is not None
            for imported in item.seen.imports
        }
        jobs = [job for item in items for job in item.jobs]
        named = {f"{job.label}:{job.symbol}" for job in jobs if job.symbol is not None}
        settled = {f"{job.label}:{build.symbol}" for job in jobs for build in job.settled}
        return cls(models, files, frozenset(named | settled))

    def reason(self, model: ModelReport) -> str | None:
        """Why a model needs no judgement of its own, None if it does."""
        if model.target in self.asked or model.by_design:
            return None
        if model.target in self.models:
            return f"part of {self.models[model.target]}"
        if model.status is Status.ANALYSED:
            return None
        path = PurePosixPath(_file(model.target))
        module = path.parent.name if path.name == "__init__.py" else path.stem
        user = self.files.get((module, model.target.rpartition(":")[2]))
        return None if user in (None, str(path)) else f"used by the models of {user}"


def without_parts(
    examined: Iterable[Examined], errors: Iterable[AnalysisError], users: Users
) -> tuple[list[Examined], list[AnalysisError]]:
    """Parts left out on purpose, with what went wrong with them."""
    kept: list[Examined] = []
    parts: set[str] = set()
    for one in examined:
        reason = users.reason(one.model)
        if reason is not None:
            parts.add(one.model.target)
            one = Examined(ModelReport(one.model.target, Status.SKIPPED, reason, by_design=True))
        kept.append(one)
    return kept, [error for error in errors if error.path not in parts]


def _file(target: str) -> str:
    return target.rpartition(":")[0]
