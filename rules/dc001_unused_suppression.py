"""DC001: comments meant to suppress findings that suppress none."""

from __future__ import annotations

from dropcheck.rule import Example, Rule

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 128), nn.Linear(128, 10)
        self.bn, self.drop = nn.BatchNorm1d(128), nn.Dropout(0.5)

    def forward(self, x):
        x = F.relu(self.fc1(x))
"""


class UnusedSuppression(Rule):
    """A comment suppresses nothing, names no rule, or is not understood.

    ## Why is this bad
    A comment that outlives the finding it was written for silences the next one at that line, which nobody has looked
    at. One with a slip in it silences nothing, or not what was meant.

    ## Use instead
    Remove the comment, or the code in it that suppresses nothing; correct what is misspelt.

    The forms are `# dropcheck: ignore[DC101, DC102] -- reason` on a line of the finding or on the one that constructs
    the layer, `# dropcheck: ignore-file[DC101] -- reason` at the top level of a file, and either without brackets for
    all rules. A comment names whole codes, no prefixes.

    ## Near misses
    A comment is called unused only where that is known: its rules ran, all models of its file were built, captured and
    judged, so were those of files that mention it, and one of them meets the function or class around the comment.
    So `--static`, `--weights`, rules left out, and models that could not be built make no comment look unused.
    A comment without codes is left alone where the command line chooses rules; one that names DC001 always.

    ## Source
    The suppression comments of Python linters and type checkers, which report unused ones for the same reason.
    """

    code = "DC001"
    name = "unused-suppression"
    examples = (
        Example(
            "the finding is gone, the comment is still there",
            _NET + "        return self.fc2(self.drop(self.bn(x)))  # dropcheck: ignore[DC101] -- so published\n",
            expect=("9: warning `ignore[DC101]` suppresses nothing",),
            input="2x64",
        ),
        Example(
            "without the comment",
            _NET + "        return self.fc2(self.drop(self.bn(x)))\n",
            input="2x64",
        ),
        Example(
            "one of two codes is not needed",
            _NET + "        return self.fc2(self.bn(self.drop(x)))  # dropcheck: ignore[DC101, DC103, DC110]\n",
            expect=("9: warning DC103 in `ignore[DC101, DC103, DC110]` suppresses nothing",),
            input="2x64",
        ),
        Example(
            "a code that no rule has",
            _NET + "        return self.fc2(self.bn(x))  # dropcheck: ignore[DC1O1]\n",
            expect=("9: warning `ignore[DC1O1]` names 'DC1O1', and no rule has that code",),
            input="2x64",
        ),
        Example(
            "a word that is none",
            _NET + "        return self.fc2(self.bn(x))  # dropcheck: ignor[DC101]\n",
            expect=("9: warning 'ignor' is nothing that a comment can ask of dropcheck",),
            input="2x64",
        ),
        Example(
            "a comment that is needed",
            _NET
            + "        return self.fc2(self.bn(self.drop(x)))  # dropcheck: ignore[DC101, DC110] -- so published\n",
            input="2x64",
        ),
        Example(
            "a text that only looks like a comment",
            _NET + '        print("# dropcheck: ignore[DC101]")\n        return self.fc2(self.drop(self.bn(x)))\n',
            input="2x64",
        ),
    )
