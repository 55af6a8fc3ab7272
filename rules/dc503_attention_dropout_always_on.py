"""DC503: attention whose dropout no training mode switches off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dropcheck.ops import Attention
from dropcheck.rule import Example, Finding, Rule, Severity, Subject
from dropcheck.syntax import Gate, SourceFile
from dropcheck.syntax.torch_names import AttentionFunction, attention_function

if TYPE_CHECKING:
    from dropcheck.syntax.names import Meaning
    from dropcheck.syntax.tree import Call

_NET = """\
class SelfAttention(nn.Module):
    def __init__(self, width=64, heads=4, dropout=0.1):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        x = F.scaled_dot_product_attention(q, k, v, dropout_p={})
        return self.out(x.transpose(1, 2).flatten(-2))

net = SelfAttention()
"""


class AttentionDropoutAlwaysOn(Rule):
    """The dropout of an attention function stays on in evaluation.

    ## Why is this bad
    `F.scaled_dot_product_attention` drops attention weights at the rate it is given, in whatever mode the model is:
    its documentation asks the caller for 0 in evaluation. The functions of flash-attn and xformers do the same. After
    `model.eval()` predictions are still random and attend to less than they could.

    ## Use instead
    Pass `dropout_p=self.dropout if self.training else 0.0`.

    ## Near misses
    A rate that `self.training` decides about is left alone, also by way of a local variable, a property, a method or
    a condition around the call; so is a rate that callers pass and this file does not show, a rate of 0, and a call
    without a rate, which means 0. The `p` of an nn.Dropout stays what it is in evaluation: reading it is no gate.

    ## Source
    PyTorch's documentation of torch.nn.functional.scaled_dot_product_attention, on `dropout_p`.
    """

    code = "DC503"
    name = "attention-dropout-always-on"
    examples = (
        Example(
            "the rate as the constructor got it",
            _NET.format("self.dropout"),
            expect=(
                "9: error scaled_dot_product_attention drops after model.eval() too: its dropout_p does not depend on self.training",
            ),
            input="2x16x64",
        ),
        Example("zero in evaluation", _NET.format("self.dropout if self.training else 0.0"), input="2x16x64"),
        Example(
            "the rate of a dropout layer, by position",
            _NET.format("None, self.dropout.p")
            .replace("dropout_p=None", "None")
            .replace("heads, dropout\n", "heads, nn.Dropout(dropout)\n"),
            expect=(
                "9: error scaled_dot_product_attention drops after model.eval() too: its dropout_p does not depend on self.training",
            ),
            input="2x16x64",
        ),
        Example("a rate of zero", _NET.format("0.0"), input="2x16x64"),
        Example(
            "a property that asks for the mode",
            _NET.format("self.rate").replace(
                "    def forward",
                "    @property\n    def rate(self):\n        return self.dropout if self.training else 0.0\n\n    def forward",
            ),
            input="2x16x64",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        if not file.mentions("attention|attn"):
            return
        for call, meaning in file.meanings:
            function = attention_function(meaning.name) if meaning.local is None else None
            if function is not None and _always_on(file, call, meaning, function):
                kind = meaning.name.rpartition(".")[2]
                message = (
                    f"{kind} drops after model.eval() too: its {function.keyword} does not depend on self.training"
                )
                yield self.remark(file, call.scope.qualname, kind, call.site, Severity.ERROR, message)

    def check(self, subject: Subject) -> Iterator[Finding]:
        for node in subject.graph.of(Attention):
            attention = node.op
            if not isinstance(attention, Attention) or attention.drop_rate == 0.0:
                continue
            if node.random_in_eval and attention.kind != "MultiheadAttention":
                message = f"{attention.kind} drops after model.eval() too: it was run in evaluation mode, and it drops"
                yield self.finding(subject, node, Severity.ERROR, message)


def _always_on(file: SourceFile, call: Call, meaning: Meaning, function: AttentionFunction) -> bool:
    rate = file.names.argument(call, meaning, function.position, function.keyword)
    if rate is None or not file.running.of(*rate).always or _is_autograd(file, call):
        return False
    if function.flag is not None:
        flag = file.names.argument(call, meaning, *function.flag)
        if (flag is None and call.unpacks) or (flag is not None and not file.running.of(*flag).always):
            return False
    return file.running.at(call) in (Gate.ON, Gate.FIXED)


def _is_autograd(file: SourceFile, call: Call) -> bool:
    """Whether it stands in a function for autograd, which gets its rate from whoever applies it."""
    owner = call.scope.owner
    return owner is not None and any(base.startswith("torch.autograd.") for base in file.names.foreign_bases(owner))
