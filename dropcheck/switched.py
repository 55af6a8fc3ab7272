"""What only shows when a dropout or batch norm that is off by default is switched on."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace

from dropcheck.engine import Examined
from dropcheck.job import CapturedModel
from dropcheck.rule import Finding


def with_switched(examined: Iterable[Examined], switched: Iterable[tuple[CapturedModel, Examined]]) -> list[Examined]:
    """The models as written, each with what is found in it besides when its switches are on.

    Only what a norm suffers counts then: where a dropout stands and how large its rate is was not written by anybody.
    The same fault is told once, for the fewest switches that make it appear.
    """
    models = list(examined)
    places = {one.model.target: number for number, one in reversed(list(enumerate(models)))}
    order = sorted(switched, key=lambda one: (one[0].target, len(one[0].switched)))
    known: dict[str, set[Hashable]] = {target: set() for target in places}
    for one in models:
        known[one.model.target] |= {_fault(finding) for finding in one.findings}
    for captured, found in order:
        if captured.target not in places:
            continue
        faults, base = known[captured.target], models[places[captured.target]]
        new = [one for one in found.findings if one.delta is not None and _fault(one) not in faults]
        faults |= {_fault(one) for one in new}
        told = (replace(one, message=f"{one.message} [with {', '.join(captured.switched)}]") for one in new)
        seen = base.seen | found.seen
        models[places[captured.target]] = replace(base, findings=(*base.findings, *told), seen=seen)
    return models


def _fault(finding: Finding) -> Hashable:
    return finding.code, finding.site or (finding.op, finding.norm)
