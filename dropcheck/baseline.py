"""Findings that are known: ``--write-baseline FILE`` keeps them, ``--baseline FILE`` leaves them out of the report.

The file is JSON, sorted, one line per finding, so that a review sees what was added or taken out. Findings are known by
their fingerprints, which outlive moved lines; paths in them are relative to the file's directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dropcheck import __version__
from dropcheck.merge import INSTALLED, path_of, stable_path, symbol_of
from dropcheck.output import write_atomically
from dropcheck.result import Report
from dropcheck.rule import Finding
from dropcheck.source import UsageError

VERSION = 1
_AGAIN = "write it anew with --write-baseline"


@dataclass(frozen=True, slots=True)
class Entry:
    """One known finding. Only ``fingerprint`` decides; the rest is for people."""

    fingerprint: str
    code: str
    path: str
    model: str
    op: str


def read_baseline(file: Path) -> tuple[Entry, ...]:
    """The known findings. Raises UsageError for a file that is missing, no baseline, or one of another version."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the baseline {file} cannot be read: {error.strerror}; {_AGAIN} {file}") from error
    except ValueError as error:
        raise UsageError(f"the baseline {file} is not valid JSON: {error}; {_AGAIN} {file}") from error
    version = document.get("version") if isinstance(document, dict) else None
    if version is None:
        raise UsageError(f"{file} is no baseline of dropcheck: it has no version; {_AGAIN} {file}")
    if version != VERSION or isinstance(version, bool):
        expected = f"this dropcheck reads version {VERSION}"
        raise UsageError(f"the baseline {file} has version {version!r}, and {expected}; {_AGAIN} {file}")
    try:
        return tuple(_entry(one) for one in document["findings"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"the baseline {file} is damaged: {error}; {_AGAIN} {file}") from error


def _entry(one: Any) -> Entry:
    values = [one[name] for name in Entry.__slots__]
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{one} holds something else than texts")
    return Entry(*values)


def write_baseline(file: Path, report: Report) -> None:
    """Keeps the findings of a report. Raises UsageError where the file cannot be written."""
    lines = ",\n".join(f"    {json.dumps(_shown(entry))}" for entry in entries(report.findings, file))
    tool = json.dumps({"name": "dropcheck", "version": __version__})
    findings = f"[\n{lines}\n  ]" if lines else "[]"
    try:
        write_atomically(file, f'{{\n  "version": {VERSION},\n  "tool": {tool},\n  "findings": {findings}\n}}\n')
    except OSError as error:
        raise UsageError(f"the baseline {file} cannot be written: {error.strerror}") from error


def _shown(entry: Entry) -> dict[str, str]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def entries(findings: Iterable[Finding], file: Path) -> tuple[Entry, ...]:
    """What a baseline keeps of findings, sorted."""
    root = str(file.absolute().parent)
    known = (
        Entry(one.fingerprint, one.code, stable_path(path_of(one), root), symbol_of(one), one.op) for one in findings
    )
    return tuple(sorted(known, key=lambda entry: (entry.path, entry.code, entry.model, entry.op, entry.fingerprint)))


def without_known(report: Report, known: Iterable[Entry]) -> Report:
    """The report without the findings that are known; they count as ``baselined``."""
    fingerprints = {entry.fingerprint for entry in known}
    new = tuple(finding for finding in report.findings if finding.fingerprint not in fingerprints)
    return replace(report, findings=new, baselined=len(report.findings) - len(new))


def gone(report: Report, known: Iterable[Entry], file: Path) -> tuple[Entry, ...]:
    """The known findings that are no more, as far as ``report``, with nothing left out, can tell.

    Those of rules that ran in files that were analysed in whole, and those in files that are no more.
    """
    found = {finding.fingerprint for finding in report.findings}
    ran = {rule.code for rule in report.rules}
    root = file.absolute().parent
    whole = {stable_path(path, str(root)) for path in report.whole}
    missing = (entry for entry in known if entry.fingerprint not in found)
    return tuple(
        entry for entry in missing if (entry.path in whole and entry.code in ran) or not _exists(root, entry.path)
    )


def _exists(root: Path, path: str) -> bool:
    return path.startswith(INSTALLED) or (root / path).exists()
