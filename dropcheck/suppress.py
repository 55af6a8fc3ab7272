"""What is found and not reported: comments in the source and per-file-ignores of the configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dropcheck.graph import Site
from dropcheck.merge import file_of, path_of, stable_path
from dropcheck.rule import Finding
from dropcheck.source import Comments, Ignore, Patterns, comments_in

UNUSED = "DC001"
"""The rule about suppressions themselves. Only a comment that names it suppresses it."""


@dataclass(frozen=True)
class Silence:
    """Who orders silence about what.

    ``linted`` are the comments of the files that are linted in whole, by path as reports show it; those of other files
    are asked of ``elsewhere``. ``per_file`` maps patterns, relative to ``root``, to prefixes of codes.
    """

    linted: Mapping[str, Comments] = field(default_factory=dict)
    per_file: tuple[tuple[str, tuple[str, ...]], ...] = ()
    root: str = ""
    elsewhere: Callable[[str], Comments] = comments_in


@dataclass(frozen=True, slots=True)
class Applied:
    """The findings that are reported, those that are not, and the codes for which each comment was needed."""

    kept: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    used: Mapping[Ignore, frozenset[str]]

    @property
    def suppressed(self) -> int:
        """How many findings are not reported at all, those of one source line counted once."""
        return len({one.fingerprint for one in self.gone} - {one.fingerprint for one in self.kept})


def apply(findings: Iterable[Finding], silence: Silence) -> Applied:
    """Parts what is reported from what is not; a finding with several instances is judged instance by instance."""
    orders = _Orders(silence)
    kept: list[Finding] = []
    gone: list[Finding] = []
    used: defaultdict[Ignore, set[str]] = defaultdict(set)
    for finding in findings:
        ignores = [one for one in orders.about(finding) if _concerns(one, finding.code)]
        for ignore in ignores:
            used[ignore].add(finding.code)
        (gone if ignores or orders.leave_out(finding) else kept).append(finding)
    return Applied(tuple(kept), tuple(gone), {ignore: frozenset(codes) for ignore, codes in used.items()})


def _concerns(ignore: Ignore, code: str) -> bool:
    return code in ignore.codes or (not ignore.codes and code != UNUSED)


class _Orders:
    """The orders of all files that findings concern, each file read once."""

    def __init__(self, silence: Silence) -> None:
        self.silence = silence
        self._files: dict[str, tuple[dict[int, list[Ignore]], list[Ignore]]] = {}
        self._patterns = [(_Files(pattern), codes) for pattern, codes in silence.per_file]

    def about(self, finding: Finding) -> Iterator[Ignore]:
        """The comments on the lines of a finding and of its layer's construction, and those for their whole files.

        Of what lies outside the linted files, say in an installed library, the file of the model may speak.
        """
        for site in (finding.site, finding.built):
            if site is not None:
                yield from self._at(site)
        if finding.site is None or finding.site.path not in self.silence.linted:
            yield from self._of(file_of(finding.model))[1]

    def leave_out(self, finding: Finding) -> bool:
        """Whether per-file-ignores name the finding's code for its file."""
        path = stable_path(path_of(finding), self.silence.root)
        return any(finding.code.startswith(codes) and files.hold(path) for files, codes in self._patterns)

    def _at(self, site: Site) -> Iterator[Ignore]:
        lines, whole_file = self._of(site.path)
        if lines:
            for line in range(site.line, site.end_line + 1):
                yield from lines.get(line, ())
        yield from whole_file

    def _of(self, path: str) -> tuple[dict[int, list[Ignore]], list[Ignore]]:
        if path not in self._files:
            linted = self.silence.linted.get(path)
            comments = self.silence.elsewhere(path) if linted is None else linted
            lines: dict[int, list[Ignore]] = {}
            for ignore in comments.ignores:
                if not ignore.whole_file:
                    lines.setdefault(ignore.site.line, []).append(ignore)
            self._files[path] = lines, [one for one in comments.ignores if one.whole_file]
        return self._files[path]


class _Files:
    """The files that one pattern of per-file-ignores means: as in .gitignore; with ``!`` before it all others."""

    def __init__(self, pattern: str) -> None:
        self._others = pattern.startswith("!")
        self._patterns = Patterns([pattern.removeprefix("!")])

    def hold(self, path: str) -> bool:
        parts = path.lstrip("/").split("/")
        meant = self._patterns("/".join(parts), directory=False) or any(
            self._patterns("/".join(parts[:depth]), directory=True) for depth in range(1, len(parts))
        )
        return meant is not self._others
