"""Words and numbers that several formats share."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

from dropcheck.graph import Site
from dropcheck.result import ModelReport, Report
from dropcheck.rule import Finding

NO_SOURCE = "<no source>"

# Characters that move the cursor, reorder text, or cannot be encoded.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_FILE = re.compile(r"(?s)(.*?\.(?:py|toml))(?::|$)")


def visible(text: str) -> str:
    """The text with every character a terminal would act upon replaced by one that shows it, one for one."""
    return "".join(_picture(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def one_line(text: str) -> str:
    """The text on one line, white space folded, safe to print."""
    return visible(" ".join(text.split()))


def json_text(document: Any) -> str:
    """Indented JSON in plain ASCII, so that it survives any terminal and encoding; lone surrogates become U+FFFD.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    writable = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub(r"[^\x00-\x7e]", lambda match: json.dumps(match[0])[1:-1], writable) + "\n"


def plural(count: int, noun: str) -> str:
    """``1 model``, ``2 models``; ``no models`` for none."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def delta_text(delta: float) -> str:
    """Δ or a shift ratio with two decimals; two digits when that would leave nothing to see."""
    return f"{delta:.2f}" if delta >= 0.01 or delta == 0 or math.isnan(delta) else f"{delta:.1e}"


def share_text(share: float) -> str:
    """A share in (0, 1] as a percentage that never rounds to none or to all of it."""
    if share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1.0 else f"{share:.0%}"


def place(site: Site | None) -> str:
    """``path:line:column`` as editors and terminals understand it."""
    return NO_SOURCE if site is None else f"{visible(site.path)}:{site.line}:{site.column}"


def file_of(target: str) -> str | None:
    """The file a target or an error names, None for a module's dotted name."""
    match = _FILE.match(target)
    return match.group(1) if match else None


def symbol_of(target: str) -> str:
    """What a target names within its file or module: ``Net`` of ``nets.py:Net``."""
    return target.removeprefix(file_of(target) or "").partition(":")[2] or target


def op_text(path: str) -> str:
    """How a reader calls an operation: a function called in the model's own forward is ``dropout()``."""
    return f"{path[1:]}()" if path.startswith("/") else path


def findings_text(report: Report) -> str:
    """``2 errors, 1 warning``, without those there are none of."""
    counts = sorted(report.counts.items(), key=lambda item: -item[0].rank)
    return ", ".join(f"{count} info" if kind == "info" else plural(count, kind) for kind, count in counts if count)


def left_out(report: Report) -> tuple[ModelReport, ...]:
    """The models that were not analysed and that no error of the report speaks of already."""
    told = {error.path for error in report.errors} | {(error.path, error.message) for error in report.errors}
    return tuple(
        model
        for model in report.unanalysed
        if model.target not in told and (file_of(model.target), model.reason) not in told
    )


def remarked(report: Report) -> tuple[ModelReport, ...]:
    """The analysed models of which something is left to say: what their weights or imports could not give."""
    return tuple(model for model in report.analysed if model.reason)


def opaque_text(model: ModelReport, most: int | None = None) -> str:
    """Which operations of a model nothing is known about; at most ``most`` are named."""
    named = ", ".join(one_line(name) for name in model.opaque[:most])
    rest = "" if most is None or len(model.opaque) <= most else f" and {len(model.opaque) - most} more"
    one = len(model.opaque) == 1
    what = f"{plural(len(model.opaque), 'operation')} {'is' if one else 'are'} not understood: {named}{rest}"
    compiled = any("ScriptModule" in name for name in model.opaque)
    advice = "; give dropcheck what torch.jit compiles, before it does" if compiled else ""
    return f"{what}; the norms behind {'it' if one else 'them'} are not judged{advice}"


def occurrences_text(finding: Finding) -> str | None:
    """``8 occurrences``, None for a single one."""
    return plural(finding.occurrences, "occurrence") if finding.occurrences > 1 else None
