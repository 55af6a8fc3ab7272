"""Hand-made reports: one with every kind of content, and the source it speaks of."""

from __future__ import annotations

from dropcheck.graph import Site
from dropcheck.result import (
    AnalysisError,
    Blame,
    DropoutReport,
    ErrorKind,
    ModelReport,
    NormReport,
    Report,
    Status,
)
from dropcheck.rule import Finding, RuleInfo, Severity
from dropcheck.shift import Evidence

SOURCES = {
    "nets/stack.py": """\
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, channels, drop_rate):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.drop = nn.Dropout(drop_rate)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.drop(F.relu(self.conv(x)))
        return x + self.bn(y)


class Stack(nn.Module):
    def __init__(self, depth=8, p=0.5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 3),
            nn.Dropout2d(0.1),
            nn.BatchNorm2d(64),
        )
        self.blocks = nn.Sequential(*(Block(64, p) for _ in range(depth)))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        x = F.dropout(x.mean((2, 3)), 0.2, self.training)
        return self.head(x)
""",
}


def site(line: int, column: int, end_column: int, *, end_line: int | None = None, path: str = "nets/stack.py") -> Site:
    return Site(path, line, column, line if end_line is None else end_line, end_column)


DROP, NORM = site(13, 13, 44), site(14, 20, 30)
STEM_DROP, STEM_NORM = site(22, 13, 30), site(23, 13, 31)
HEAD_DROP = site(30, 13, 58)

RULES = (
    RuleInfo(
        code="DC101",
        name="dropout-before-batchnorm",
        summary="Dropout feeds a batch norm with no weight layer between them.",
        documentation="Dropout feeds a batch norm with no weight layer between them.\n\n## Why is this bad\n"
        "Dropout inflates the variance that the norm stores,\nand evaluation meets a smaller one.\n\n"
        "## Use instead\nPut the dropout after the last batch norm.\n\n## Source\nLi et al. 2019, Eq. 6.\n",
        help="Put the dropout after the last batch norm.",
    ),
    RuleInfo(
        code="DC301",
        name="dropout-after-global-pool",
        summary="Head dropout after global average pooling.",
        documentation="Head dropout after global average pooling.\n",
        help="Drop before the pooling.",
    ),
)

FINDINGS = (
    Finding(
        code="DC101",
        name="dropout-before-batchnorm",
        severity=Severity.ERROR,
        message="`blocks.0.bn` stores 2.00x the variance it meets at evaluation (Δ = 0.50): "
        "dropout feeds it with no weight layer between",
        help="Put the dropout after the last batch norm, or before the last weight layer of the branch: "
        "`self.conv(self.drop(x))`.",
        site=DROP,
        model="nets/stack.py:Stack",
        op="blocks.0.drop",
        norm="blocks.0.bn",
        delta=0.5,
        evidence=Evidence.PRIOR,
        fingerprint="9f2c41d07be35a18",
        occurrences=8,
    ),
    Finding(
        code="DC101",
        name="dropout-before-batchnorm",
        severity=Severity.WARNING,
        message="`stem.2` stores 1.11x the variance it meets at evaluation (Δ = 0.90)",
        help="Put the dropout after the last batch norm.",
        site=STEM_DROP,
        model="nets/stack.py:Stack",
        op="stem.1",
        norm="stem.2",
        delta=0.9,
        evidence=Evidence.PRIOR,
        fingerprint="11aa22bb33cc44dd",
    ),
    Finding(
        code="DC301",
        name="dropout-after-global-pool",
        severity=Severity.INFO,
        message="noise variance 0.25 x 64 after the pooling, 0.25 before it",
        help="Drop before the pooling.",
        site=HEAD_DROP,
        model="nets/stack.py:Stack",
        op="dropout",
        fingerprint="5511223344556677",
    ),
    Finding(
        code="DC999",
        name="rule-of-a-plugin",
        severity=Severity.WARNING,
        message="something without a place in the source",
        help="",
        site=None,
        model="nets.made:build('a:b', 100%)",
        op="<lambda>",
        norm="bn",
        delta=1.5,
        evidence=Evidence.WEIGHTS,
        fingerprint="",
    ),
)

STACK = ModelReport(
    target="nets/stack.py:Stack",
    status=Status.ANALYSED,
    capture="fx",
    arguments="depth=8, p=0.5",
    input="2x3x32x32",
    evidence=Evidence.PRIOR,
    ops=57,
    norms=(
        NormReport("stem.2", "BatchNorm2d", 0.9, None, (Blame("stem.1", 1.0),), STEM_NORM),
        NormReport(
            "blocks.0.bn", "BatchNorm2d", 0.5, 0.48, (Blame("blocks.0.drop", 0.97), Blame("stem.1", 0.03)), NORM
        ),
        NormReport("blocks.1.bn", "BatchNorm2d", 0.53, None, (), NORM),
    ),
    dropouts=(
        DropoutReport("stem.1", "Dropout2d", 0.1, STEM_DROP),
        DropoutReport("blocks.0.drop", "Dropout", 0.5, DROP),
        DropoutReport("blocks.1.drop", "Dropout", 0.5, DROP),
        DropoutReport("dropout", "dropout", 0.2, HEAD_DROP),
    ),
)

MODELS = (
    ModelReport(
        target="nets.made:build('a:b', 100%)",
        status=Status.ANALYSED,
        capture="record",
        arguments="",
        input="2x16",
        evidence=Evidence.WEIGHTS,
        ops=4,
        opaque=("einops.rearrange", "custom::scan", "mamba.step"),
        norms=(
            NormReport("bn", "BatchNorm1d", 1.5, None, (), None),
            NormReport("bn_after", "SyncBatchNorm", None, None, (), None),
        ),
        dropouts=(DropoutReport("<lambda>", "DropPath", 0.0, None),),
    ),
    ModelReport(
        target="nets/broken.py:Wide",
        status=Status.FAILED,
        reason="ValueError: depth should be 6n + 4",
        arguments="depth=20",
    ),
    ModelReport(
        target="nets/stack.py:Block",
        status=Status.SKIPPED,
        reason="part of nets/stack.py:Stack, analysed there",
        by_design=True,
    ),
    STACK,
    ModelReport(
        target="nets/vit.py:ViT",
        status=Status.SKIPPED,
        reason="nothing says what to give for `config`; write `# dropcheck: build ViT(config=...)` above the class",
    ),
)

ERRORS = (
    AnalysisError(
        path="nets/broken.py",
        kind=ErrorKind.IMPORT,
        message="line 3: ModuleNotFoundError: No module named 'apex'",
        hint="install apex where dropcheck runs, or exclude the file",
        details="Traceback (most recent call last):\n"
        '  File "nets/broken.py", line 3, in <module>\n    import apex\n'
        "ModuleNotFoundError: No module named 'apex'\n",
    ),
    AnalysisError(
        path="nets/old.py",
        kind=ErrorKind.SYNTAX,
        message='line 1: print "hello" is not Python 3',
        hint="",
    ),
)

FULL = Report(findings=FINDINGS, models=MODELS, errors=ERRORS, rules=RULES, files=5, suppressed=2, seconds=0.8125)
CLEAN = Report(
    models=(
        ModelReport(
            target="nets/wide.py:Wide",
            status=Status.ANALYSED,
            capture="fx",
            arguments="",
            evidence=Evidence.PRIOR,
            ops=12,
            norms=(
                NormReport("a", "BatchNorm2d", 1.0, None, (), None),
                NormReport("b", "BatchNorm2d", 0.98, None, (), None),
            ),
        ),
    ),
    rules=RULES,
    files=1,
    seconds=0.25,
)
EMPTY = Report()
