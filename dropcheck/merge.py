"""One finding per fault: the instances of one source line together, known again when lines move."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from math import inf
from pathlib import PurePosixPath

from dropcheck.rule import Finding
from dropcheck.shift import shift_ratio

INSTALLED = ("site-packages", "dist-packages")


def grouped(findings: Iterable[Finding], root: str = "") -> tuple[Finding, ...]:
    """One finding per rule and source region, the worst of its instances, with their number as ``occurrences``."""
    return merged(fingerprinted(findings, root))


def fingerprinted(findings: Iterable[Finding], root: str = "") -> Iterator[Finding]:
    """The instances with the fingerprint of their group: those of one rule and source region, sorted by place.

    Findings without a site stay apart. A fingerprint is made of the rule's code and the first instance's file (relative
    to ``root``, default the working directory), model and operation, so it outlives moved lines, other numbers and a
    change of which instance is the worst; groups that are alike in all that are numbered. What the source's text shows
    is known by that alone, so that it is the same whether models are built or not.
    """
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        key = finding.site or (finding.model, finding.op, finding.norm)
        groups.setdefault((finding.code, key), []).append(finding)
    seen: Counter[tuple[str, ...]] = Counter()
    for group in sorted(groups.values(), key=lambda group: _order(group[0])):
        first = group[0]
        named = ("", first.said) if first.said else (symbol_of(first), first.op)  # as it is with --static
        identity = (first.code, stable_path(path_of(first), root), *named)
        fingerprint = sha256("\0".join((*identity, str(seen[identity]))).encode()).hexdigest()[:16]
        seen[identity] += 1
        yield from (replace(finding, fingerprint=fingerprint) for finding in group)


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding per fingerprint, the worst of its instances; sorted by path, line, column, code and op."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.fingerprint, []).append(finding)
    ordered = sorted(groups.values(), key=lambda group: _order(group[0]))
    return tuple(
        replace(max(group, key=_badness), occurrences=sum(finding.occurrences for finding in group))
        for group in ordered
    )


def path_of(finding: Finding) -> str:
    """The file a finding is in; the model's where it has no site."""
    return finding.site.path if finding.site else file_of(finding.model)


def file_of(target: str) -> str:
    """``nets.py`` of ``nets.py:Net``, and of ``nets.py``."""
    return target.rpartition(":")[0] or target


def symbol_of(finding: Finding) -> str:
    """``Net`` of a finding in the model ``nets.py:Net``; empty for one in a file's text."""
    return finding.model.rpartition(":")[2] if ":" in finding.model else ""


def stable_path(path: str, root: str) -> str:
    """A file as it is called on every machine: relative to ``root``, or to where packages are installed."""
    parts = PurePosixPath(path).parts
    for number, part in enumerate(parts):
        if part in INSTALLED:
            return "/".join(parts[number:])
    if not root or path.startswith("<"):
        return path
    try:
        return os.path.relpath(path, root).replace(os.sep, "/")
    except ValueError:  # on another drive
        return path


def _badness(finding: Finding) -> tuple[int, float]:
    if finding.delta is None:
        return finding.severity.rank, 1.0
    return finding.severity.rank, shift_ratio(finding.delta) if finding.delta > 0.0 else inf


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    site = finding.site
    where = (site.path, site.line, site.column) if site else (file_of(finding.model), 0, 0)
    return (*where, finding.code, finding.op)
