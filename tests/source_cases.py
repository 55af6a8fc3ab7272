"""Pieces of model files as people write them, for the rules that read sources.

A case is a text with ``#!`` behind each line that the rule must find; a title that begins with ``ok`` has none.
"""

from __future__ import annotations

FUNCTIONAL = {
    "ok: a static method gets the mode": """
class Net(nn.Module):
    @staticmethod
    def drop(x, p, on):
        return F.dropout(x, p, on)
    def forward(self, x):
        return self.drop(x, 0.1, self.training)
""",
    "alias of the module": """
import torch.nn.functional as NF
class Net(nn.Module):
    def forward(self, x):
        return NF.dropout(x, p=0.5) #!
""",
    "alias of the function, two of them": """
from torch.nn.functional import dropout as d, dropout2d
class Net(nn.Module):
    def forward(self, x):
        x = d(x, 0.1) #!
        return dropout2d(x, training=True) #!
""",
    "torch.dropout and a literal flag": """
class Net(nn.Module):
    def forward(self, x):
        return torch.dropout(x, 0.5, True) #!
""",
    "torch.nn.functional spelled out, in two lines": """
class Net(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout( #!
            x, self.p
        )
    def __init__(self, p):
        super().__init__()
        self.p = p
""",
    "a closure stored on self": """
class Net(nn.Module):
    def __init__(self, p):
        super().__init__()
        def drop(x):
            return F.dropout(x, p) #!
        self.drop = drop
    def forward(self, x):
        return self.drop(x)
""",
    "a lambda stored on self": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = lambda x: F.dropout(F.relu(x), 0.3) #!
    def forward(self, x):
        return self.act(x)
""",
    "a function stored on self": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = F.dropout
    def forward(self, x):
        return self.drop(x, 0.2) #!
""",
    "a partial made by the constructor holds the flag it found": """
from functools import partial
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = partial(F.dropout, p=0.5, training=self.training)
    def forward(self, x):
        return self.drop(x) #!
""",
    "a free function that forward calls": """
def regularised(x, rate):
    return F.dropout(F.relu(x), rate) #!
class Net(nn.Module):
    def forward(self, x):
        return regularised(x, 0.5)
""",
    "a helper that another file calls": """
def drop_and_add(x, residual, prob):
    out = F.dropout(x, p=prob) #!
    return residual + out
""",
    "a default that callers leave as it is": """
def drop(x, p, training=True):
    return F.dropout(x, p, training) #!
class Net(nn.Module):
    def forward(self, x):
        return drop(x, 0.5)
""",
    "behind a rate test and a flag of the constructor": """
class Net(nn.Module):
    def __init__(self, p=0.1, use_dropout=True):
        super().__init__()
        self.p, self.use_dropout = p, use_dropout
    def forward(self, x):
        if self.p > 0 and self.use_dropout:
            x = F.dropout(x, self.p) #!
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i != len(self.layers) - 1:
                x = F.dropout(x, self.p, True) #!
        return x
""",
    "Tacotron's prenet": """
class Prenet(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
    def forward(self, x):
        for linear in self.layers:
            x = F.dropout(F.relu(linear(x)), p=0.5, training=True) #!
        return x
""",
    "dropout of the weights, through a base class of this file": """
class Base(nn.Module):
    pass
class WeightDrop(Base):
    def _setweights(self):
        for name in self.names:
            w = F.dropout(getattr(self, name + '_raw'), p=self.dropout) #!
            setattr(self.module, name, w)
    def forward(self, *args):
        self._setweights()
        return self.module(*args)
""",
    "the wrong way round": """
class Net(nn.Module):
    def forward(self, x):
        if self.training:
            return x
        return F.dropout(x, 0.5) #!
""",
    "a callable object that a module holds": """
class Drop:
    def __init__(self, p):
        self.p = p
    def __call__(self, x):
        return F.dropout(x, self.p) #!
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = Drop(0.5)
    def forward(self, x):
        return self.drop(x)
""",
    "ok: the mode, by name, position and alias": """
from torch.nn.functional import dropout as d
class Net(nn.Module):
    def forward(self, x):
        t = self.training
        x = F.dropout(x, 0.5, self.training)
        x = F.dropout(x, p=0.5, training=t, inplace=True)
        x = d(x, training=bool(self.training and self.p > 0))
        return torch.dropout(x, 0.5, train=self.training)
""",
    "ok: conditions around it": """
class Net(nn.Module):
    def forward(self, x):
        if self.training and self.p > 0:
            x = F.dropout(x, self.p)
        y = F.dropout(x) if self.training else x
        x = self.training and F.dropout(x) or x
        if not self.training or self.p == 0:
            return y
        if self.p:
            return F.dropout(x, self.p)
        return F.dropout(y)
""",
    "ok: conditions around the callers": """
def noisy(x):
    return F.dropout(x, 0.5)
class Net(nn.Module):
    def _drop(self, x, p):
        return F.dropout(noisy(x), p)
    def forward(self, x):
        if self.training:
            x = self._drop(x, 0.5)
        return x
""",
    "ok: rates that are zero in evaluation": """
class Net(nn.Module):
    def _rate(self):
        return self.p if self.training else 0.0
    @property
    def rate(self):
        if self.training:
            return self.p
        return 0.0
    def forward(self, x):
        p = 0.0
        if self.training:
            p = self.p
        x = F.dropout(x, p)
        x = F.dropout(x, self._rate())
        x = F.dropout(x, p=self.rate)
        x = F.dropout(x, self.p * self.training)
        return F.dropout(x, 0.0)
""",
    "ok: flags that somebody else decides about": """
def drop(x, p, training):
    return F.dropout(x, p, training=training)
def step(x, train, **options):
    x = F.dropout(x, 0.5, **options)
    return F.dropout(x, 0.5, training=not train)
class Net(nn.Module):
    def forward(self, x, is_train=False):
        return F.dropout(x, 0.5, training=is_train)
    def other(self, x):
        return F.dropout(x, 0.5, training=self.cfg.is_training)
""",
    "ok: set in train() or by others": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.active = True
        self.rate = 0.5
    def train(self, mode=True):
        self.active = mode
        return super().train(mode)
    def forward(self, x):
        return F.dropout(F.dropout(x, 0.5, training=self.active), self.rate, self.noisy)
def switch(net, on):
    net.noisy = on
""",
    "ok: training alone": """
class Net(pl.LightningModule):
    def training_step(self, batch, index):
        return self(F.dropout(batch, 0.1))
    def compute_loss(self, x):
        return F.dropout(x, 0.5).sum()
def augment(x):
    return F.dropout(x, 0.1)
def test_dropout(p):
    assert F.dropout(torch.ones(3), p).shape == (3,)
y = F.dropout(torch.ones(3), 0.5)
""",
    "ok: another F, another dropout": """
import torchvision.transforms.functional as F
from mylib import dropout
class Net(nn.Module):
    def forward(self, x):
        return F.dropout(dropout(self.dropout(x), 0.5))
""",
    "ok: alpha dropout is off by default": """
class Net(nn.Module):
    def forward(self, x):
        return F.feature_alpha_dropout(F.alpha_dropout(x, 0.1), 0.1)
""",
    "ok: Monte Carlo by flag, off unless asked for": """
class Net(nn.Module):
    def __init__(self, mc=False):
        super().__init__()
        self.mc = mc
    def forward(self, x):
        return F.dropout(x, 0.5, training=self.training or self.mc)
""",
}
