"""What a census found, as Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from dropcheck.report.alike import cause

from .tables import markdown, percent
from .tried import Tried

_LONGEST = 110  # characters of an error
_MOST_CAUSES = 25
_HEAD = """# Census

What dropcheck makes of the models of public packages. Made by

    python -m tests.benchmarks.census --models models.jsonl --results listed.jsonl
    python -m tests.benchmarks.census --packages monai torch_geometric kornia torch_rechub \\
        dynamic_network_architectures --shard 0/4 --limit 60 --results classes.jsonl
    python -m tests.benchmarks.census --join listed.jsonl classes.jsonl --output tests/benchmarks/CENSUS.md

Models of a list come with the expression that builds them and an example input, and go through
`dropcheck.lint(model, *example)`. Of a package every fourth `nn.Module` class goes the way of
`dropcheck lint module:Class`, which has to find arguments and input itself, parts and losses included. Seconds are
processor time of one core for one model; *ratio* is against the model's own forward on the meta device and
`torch.fx.symbolic_trace` of it.
"""


def document(results: Sequence[Tried]) -> str:
    """All of it. ``results`` are those of a zoo one after the other."""
    zoos = {zoo: list(found) for zoo, found in groupby(results, lambda one: one.zoo)}
    listed = {zoo: [one for one in found if ":" not in one.name] for zoo, found in zoos.items()}
    guessed = {zoo: [one for one in found if ":" in one.name] for zoo, found in zoos.items()}
    parts = [_HEAD]
    for title, group in (("Models with an example input", listed), ("Classes, nothing given", guessed)):
        filled = {zoo: found for zoo, found in group.items() if found}
        if filled:
            parts.append(_section(title, filled))
    return "\n".join(parts)


def _section(title: str, zoos: dict[str, list[Tried]]) -> str:
    everything = [one for found in zoos.values() for one in found]
    rows = [_row(zoo, found) for zoo, found in zoos.items()]
    rows += [_row("all", everything)] if len(zoos) > 1 else []
    head = ("zoo", "tried", "built", "captured", "by fx", "recorded", "ops", "opaque", "s, median", "ratio, median")
    parts = [f"## {title}\n", markdown((*head, "worst"), rows)]
    parts += _counted("finding", "models", (code for one in everything for code in one.codes))
    parts += _counted("opaque operation", "models", (name for one in everything for name in dict.fromkeys(one.opaque)))
    parts += _counted("changed by linting", "models", (key for one in everything for key in one.touched))
    parts += _failures(everything)
    return "\n".join(parts)


def _row(zoo: str, found: Sequence[Tried]) -> list[str]:
    captured = [one for one in found if one.capture is not None]
    ways = Counter(one.capture for one in captured)
    ops, opaque = sum(one.ops for one in captured), sum(len(one.opaque) for one in captured)
    seconds = [one.seconds for one in captured if one.seconds is not None]
    ratios = [one.seconds / one.least for one in captured if one.seconds is not None and one.least]
    return [
        zoo,
        *(str(len(some)) for some in (found, [one for one in found if one.built], captured)),
        *(str(ways[way]) for way in ("fx", "record")),
        str(ops),
        percent(opaque / ops) if ops else "–",
        f"{statistics.median(seconds):.2f}" if seconds else "–",
        *((f"{statistics.median(ratios):.2f}", f"{max(ratios):.2f}") if ratios else ("–", "–")),
    ]


def _counted(what: str, how_many: str, names: Iterable[str]) -> list[str]:
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return [markdown((what, how_many), [(f"`{name}`", str(count)) for name, count in counts])] if counts else []


def _failures(results: Sequence[Tried]) -> list[str]:
    """Why models are not captured, most frequent first; alike ones in one row."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in results:
        if one.capture is None and not one.by_design:
            alike.setdefault((_stage(one), _cause(one.error or "no reason given")), []).append(f"{one.zoo} {one.name}")
    rows = [
        (why, stage, str(len(names)), ", ".join(names[:3]) + (" …" if len(names) > 3 else ""))
        for (stage, why), names in sorted(alike.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    shown, rest = rows[:_MOST_CAUSES], sum(int(row[2]) for row in rows[_MOST_CAUSES:])
    shown += [("other causes", "", str(rest), "")] if rest else []
    return [markdown(("why not captured", "stage", "models", "such as"), shown)] if rows else []


def _stage(one: Tried) -> str:
    if not one.built:
        return "not built"
    return {True: "its forward runs", False: "its forward does not run on CPU", None: "built"}[one.runs]


def _cause(error: str) -> str:
    told = cause(error).replace("|", "\\|")
    return f"{told[:_LONGEST]}…" if len(told) > _LONGEST else told
