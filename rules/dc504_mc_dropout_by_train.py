"""DC504: Monte Carlo dropout that puts the whole model into training mode."""

from __future__ import annotations

from collections.abc import Iterator

from dropcheck.rule import Example, Finding, Rule, Severity
from dropcheck.syntax import SourceFile
from dropcheck.syntax.sampling import switches

_NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.bn, self.drop, self.fc2 = nn.Linear(8, 64), {}, nn.Dropout(0.5), nn.Linear(64, 2)

    def forward(self, x):
        return self.fc2(self.drop(F.relu(self.bn(self.fc1(x)))))
"""
_BN = "nn.BatchNorm1d(64)"


class McDropoutByTrain(Rule):
    """Monte Carlo dropout puts the whole model, batch norms included, into training mode to predict.

    ## Why is this bad
    `model.train()` switches on more than dropout. Every batch norm then normalises with the batch at hand, so that a
    prediction depends on what else is in its batch, and each forward moves the running statistics towards the data
    that is only predicted: the model is no longer the one that was trained. Neither is part of the uncertainty.

    ## Use instead
    Call `model.eval()`, then `train()` on the dropouts alone: those of `model.modules()` that are an nn.Dropout.

    ## Near misses
    Training loops (anything that calls `backward`, `step` or speaks of a loss), passes that only estimate running
    statistics anew and drop what the model returns, evaluation that ends with `model.train()`, batch norms put back
    with `.eval()`, and models of this file that have no batch norm are left alone. The model is followed through the
    functions of its file that switch it on or that predict with it, not into other files.

    ## Source
    Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation": dropout alone is sampled at test time.
    """

    code = "DC504"
    name = "mc-dropout-by-train"
    examples = (
        Example(
            "the whole model in training mode",
            _NET.format(_BN)
            + """
def predict(model, x, samples=20):
    model.train()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(samples)]).mean(0)
""",
            expect=(
                "10: warning model.train() before predicting puts batch norms in training mode along with dropout: predictions depend on their batch, and running statistics move",
            ),
        ),
        Example(
            "the dropouts alone",
            _NET.format(_BN)
            + """
def predict(model, x, samples=20):
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(samples)]).mean(0)
""",
        ),
        Example(
            "the model itself, a decorator",
            _NET.format(_BN)
            + """
    @torch.inference_mode()
    def uncertainty(self, x):
        self.train()
        samples = [self(x) for _ in range(10)]
        return torch.stack(samples).var(0)
""",
            expect=(
                "11: warning self.train() before predicting puts batch norms in training mode along with dropout: predictions depend on their batch, and running statistics move",
            ),
        ),
        Example(
            "in functions of their own, one of which training uses too",
            _NET.format(_BN)
            + """
def enable_dropout(model):
    model.train()

def prepare(model):
    model.train()

def sample(model, x, n):
    return torch.stack([model(x) for _ in range(n)])

def predict(model, x):
    enable_dropout(model)
    return sample(model, x, 20).mean(0)

def fit(model, x, y, optimizer):
    prepare(model)
    F.cross_entropy(model(x), y).backward()
    optimizer.step()

def look(model, x):
    prepare(model)
    with torch.no_grad():
        return model(x)
""",
            expect=(
                "10: warning model.train() before predicting puts batch norms in training mode along with dropout: predictions depend on their batch, and running statistics move",
                "28: warning prepare(), which calls model.train(), before predicting puts batch norms in training mode along with dropout: predictions depend on their batch, and running statistics move",
            ),
        ),
        Example(
            "no batch norm",
            _NET.format("nn.LayerNorm(64)")
            + """
net = Net()

def predict(x):
    net.train()
    with torch.no_grad():
        return torch.stack([net(x) for _ in range(20)]).mean(0)
""",
        ),
        Example(
            "a training loop that validates",
            _NET.format(_BN)
            + """
def fit(model, batches, optimizer):
    for x, y in batches:
        model.train()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            print(model(x).argmax(1))
""",
        ),
        Example(
            "statistics estimated anew",
            _NET.format(_BN)
            + """
def renew(model, batches):
    model.train()
    with torch.no_grad():
        for x in batches:
            model(x)
""",
        ),
    )

    def read(self, file: SourceFile) -> Iterator[Finding]:
        for call, shown in switches(file) if file.mentions(r"\.train\(") else ():
            message = (
                f"{shown} before predicting puts batch norms in training mode along with dropout: "
                "predictions depend on their batch, and running statistics move"
            )
            yield self.remark(file, call.scope.qualname, "train", call.site, Severity.WARNING, message)
