"""Which classes of a file are modules, and which dropout and batch norm layers they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dropcheck.syntax.names import Meaning, Names, canonical
from dropcheck.syntax.scope import Kind, Scope
from dropcheck.syntax.torch_names import BATCH_NORMS, DROPPING_BY_DEFAULT, DROPPING_INSIDE, is_dropout_layer
from dropcheck.syntax.tree import Call, Expr, Literal, walk

_NO_MODULES = ("object", "abc.ABC", "ABC", "typing.", "enum.", "Exception", "torch.autograd.", "torch.utils.data.")
_KNOWN_MODULES = ("torch.nn.", "torch.jit.ScriptModule")
_KNOWN_ENDINGS = (".LightningModule", ".MessagePassing", ".PyroModule")


class Layers:
    """Knows the classes of one file by what they derive from and construct."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def is_module(self, klass: Scope) -> bool | None:
        """Whether a class derives from nn.Module; None where a base is defined elsewhere."""
        bases = self.names.foreign_bases(klass)
        if any(base.startswith(_KNOWN_MODULES) or base.endswith(_KNOWN_ENDINGS) for base in bases):
            return True
        return False if all(base.startswith(_NO_MODULES) for base in bases) else None

    def is_closed(self, klass: Scope) -> bool:
        """Whether all of a class's bases are in this file or plain nn.Module: nothing else reads its attributes."""
        bases = self.names.foreign_bases(klass)
        plain = ("torch.nn.Module", "object", "abc.ABC", "ABC")
        return "torch.nn.Module" in bases and all(base in plain for base in bases)

    def kinds(self, call: Call) -> list[str]:
        """What a call may construct, as canonical dotted names."""
        return [canonical(meaning.name) for meaning in self.names.of(call.function, call.scope)]

    def is_dropout(self, call: Call) -> bool:
        """Whether a call constructs a dropout layer: of torch, timm, torchvision, or a class here that is named one."""
        return any(map(_makes_dropout, self._meanings(call)))

    def is_batch_norm(self, call: Call) -> bool:
        return any(canonical(meaning.name) in BATCH_NORMS for meaning in self._meanings(call))

    def has_mode(self, call: Call) -> bool:
        """Whether a call constructs a layer that is another one in evaluation: dropout (inside, too) or batch norm."""
        return self.is_dropout(call) or self.is_batch_norm(call) or self._drops_inside(call)

    def _drops_inside(self, call: Call) -> bool:
        given = call.argument(None, "dropout")
        if given is None:
            return any(kind in DROPPING_BY_DEFAULT for kind in self.kinds(call))
        off = isinstance(given, Literal) and not given.value
        return not off and any(kind in DROPPING_INSIDE for kind in self.kinds(call))

    def minds_mode(self, call: Call) -> bool:
        """Whether a call constructs a dropout, a batch norm, or a module of this file that holds one."""
        return self.has_mode(call) or any(map(self._minding, self._meanings(call)))

    def holds(self, klass: Scope, wanted: Callable[[Call], bool]) -> bool | None:
        """Whether a class constructs a layer that is ``wanted``, itself or through other classes of this file.

        None where something it constructs is not known.
        """
        unsure = not self.is_closed(klass)
        pending, seen = [klass], {klass}
        while pending:
            for call in self.constructed(pending.pop()):
                if wanted(call):
                    return True
                for meaning in self._meanings(call):
                    inner = meaning.local
                    if inner is not None and inner not in seen:
                        seen.add(inner)
                        pending.append(inner)
                    unsure = unsure or (inner is None and self._is_unknown(canonical(meaning.name)))
        return None if unsure else False

    def constructed(self, scope: Scope) -> Iterator[Call]:
        """The calls in a scope and in those inside it, a class's bases included."""
        pending = self.names.lineage(scope) if scope.kind is Kind.CLASS else [scope]
        for one in pending:
            inside = [one]
            for inner in inside:
                yield from inner.calls
                inside.extend(inner.scopes)

    def constructors_in(self, expr: Expr, wanted: Callable[[Call], bool]) -> list[Call]:
        """The calls within an expression that construct what is wanted."""
        return [one for one in walk(expr) if isinstance(one, Call) and wanted(one)]

    def _meanings(self, call: Call) -> list[Meaning]:
        return self.names.of(call.function, call.scope)

    def _minding(self, meaning: Meaning) -> bool:
        if meaning.local is not None and meaning.local.kind is Kind.CLASS and self.is_module(meaning.local):
            return self.holds(meaning.local, self.has_mode) is True
        return False

    def _is_unknown(self, name: str) -> bool:
        """Whether what is called may be a model's part defined elsewhere."""
        last = name.rpartition(".")[2]
        return not name.startswith("torch.") and last[:1].isupper()


def _makes_dropout(meaning: Meaning) -> bool:
    if meaning.local is None:
        return is_dropout_layer(canonical(meaning.name))
    return meaning.local.kind is Kind.CLASS and "drop" in meaning.local.name.lower()
