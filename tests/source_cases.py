"""Pieces of model files as people write them, for the rules that read sources.

A case is a text with ``#!`` behind each line that the rule must find; a title that begins with ``ok`` has none.
"""

from __future__ import annotations

FUNCTIONAL = {
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

MASKS = {
    "compared with a rate, through a variable": """
class Net(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
    def forward(self, x):
        mask = (torch.rand(x.shape, device=x.device) > self.p).float() #!
        return x * mask / (1 - self.p)
""",
    "filled in place": """
class Net(nn.Module):
    def __init__(self, keep_prob=0.9):
        super().__init__()
        self.keep_prob = keep_prob
    def forward(self, x):
        m = x.new_empty(x.size(0), 1, x.size(2)).bernoulli_(self.keep_prob).div_(self.keep_prob) #!
        return m.expand_as(x) * x
""",
    "a bare statement fills it": """
class Net(nn.Module):
    def forward(self, x):
        m = torch.empty_like(x)
        m.bernoulli_(0.8) #!
        x *= m
        return x
""",
    "torch.bernoulli of a constant, masked_fill": """
class Net(nn.Module):
    def __init__(self, drop_prob):
        super().__init__()
        self.drop_prob = drop_prob
    def forward(self, x):
        dropped = torch.bernoulli(torch.full_like(x, self.drop_prob)).bool() #!
        return x.masked_fill(dropped, 0)
""",
    "stochastic depth with floor": """
class DropPath(nn.Module):
    def __init__(self, drop_prob=0.1):
        super().__init__()
        self.drop_prob = drop_prob
    def forward(self, x):
        if self.drop_prob == 0.:
            return x
        keep_prob = 1 - self.drop_prob
        random_tensor = keep_prob + torch.rand((x.shape[0], 1, 1), dtype=x.dtype) #!
        random_tensor.floor_()
        return x.div(keep_prob) * random_tensor
""",
    "on weights, made by a method": """
class DropConnect(nn.Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p = p
    def _mask(self, w):
        return torch.rand_like(w) >= self.p #!
    def forward(self, x):
        w = torch.where(self._mask(self.weight), self.weight, torch.zeros_like(self.weight))
        return F.linear(x, w)
""",
    "on the entries of a sparse tensor": """
class Recommender(nn.Module):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob
    def _dropout(self, graph, keep_prob):
        index, values = graph.indices().t(), graph.values()
        random_index = torch.rand(len(values)) + keep_prob #!
        random_index = random_index.int().bool()
        return torch.sparse_coo_tensor(index[random_index].t(), values[random_index] / keep_prob, graph.size())
    def forward(self, x):
        return torch.sparse.mm(self._dropout(self.graph, self.keep_prob), x)
""",
    "a distribution, edges of a graph": """
from torch.distributions import Bernoulli
class Net(nn.Module):
    def __init__(self, p_edge):
        super().__init__()
        self.p_edge = p_edge
    def forward(self, x, edge_index):
        keep = Bernoulli(1 - self.p_edge).sample((edge_index.size(1),)).bool() #!
        return self.conv(x, edge_index[:, keep])
""",
    "assigned through a mask": """
class Net(nn.Module):
    def forward(self, x):
        x[torch.rand(x.shape) < 0.3] = 0 #!
        return x
""",
    "ok: gated in every way": """
class Net(nn.Module):
    def forward(self, x):
        if self.training:
            x = x * (torch.rand_like(x) > self.p)
        x = x * (torch.rand_like(x) < 0.5 if self.training else 1.0)
        keep = 1.0 - self.p if self.training else 1.0
        x = x * torch.empty_like(x).bernoulli_(keep)
        if not self.training or not self.p:
            return x
        m = x.new(1, x.size(1)).bernoulli_(1 - self.p)
        return m * x
""",
    "ok: functions that get the mode or a rate": """
def drop_path(x, drop_prob: float = 0., training: bool = False):
    if drop_prob == 0. or not training:
        return x
    keep_prob = 1 - drop_prob
    mask = keep_prob + torch.rand((x.shape[0], 1), dtype=x.dtype)
    return x.div(keep_prob) * mask.floor_()
def embedded_dropout(embed, words, dropout=0.1):
    if dropout:
        mask = embed.weight.new_empty((embed.weight.size(0), 1)).bernoulli_(1 - dropout) / (1 - dropout)
        return F.embedding(words, mask * embed.weight)
    return embed(words)
""",
    "ok: noise and samples": """
class VAE(nn.Module):
    def reparameterize(self, mu, logvar):
        return mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
    def forward(self, x):
        x = x + 0.1 * torch.rand_like(x)
        p = torch.sigmoid(self.fc(x))
        h = torch.bernoulli(p)
        g = (torch.rand_like(p) < p).float()
        gumbel = -torch.log(-torch.log(torch.rand_like(p)))
        return self.reparameterize(h * x, g * x) + gumbel
""",
    "ok: augmentation outside of modules, initialisation": """
class RandomErase:
    def __call__(self, x):
        return x * (torch.rand_like(x) > 0.1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 3) * (torch.rand(3, 3) < 0.1))
        self.reset_parameters()
    def reset_parameters(self):
        self.weight.data *= torch.empty(3, 3).bernoulli_(0.5)
def collate(batch):
    return batch * (torch.rand_like(batch) > 0.1)
""",
    "ok: one random choice, a permutation": """
class Decoder(nn.Module):
    def forward(self, x, target):
        use_teacher = torch.rand(1).item() < self.teacher_ratio
        x = target if use_teacher else x
        order = torch.rand(x.shape[:2]).argsort(dim=1)
        return x.gather(1, order)
""",
    "ok: called in training alone": """
class LightGCN(nn.Module):
    def dropped(self, graph):
        keep = (torch.rand(graph.size(0)) + self.keep_prob).int().bool()
        return graph[keep] / self.keep_prob
    def forward(self, x):
        graph = self.dropped(self.graph) if self.training else self.graph
        return graph @ x
""",
}

BUILT = {
    "called at once": """
class Net(nn.Module):
    def forward(self, x):
        return torch.nn.Dropout(0.5)(x) #!
""",
    "through a local variable": """
class Net(nn.Module):
    def forward(self, x):
        drop = nn.Dropout2d(p=self.p) #!
        for layer in self.layers:
            x = drop(layer(x))
        return x
""",
    "in a method that forward calls, aliased": """
from torch.nn import Dropout as Drop
class Net(nn.Module):
    def block(self, x):
        return F.relu(Drop(self.rate)(x)) #!
    def forward(self, x):
        return self.block(x)
""",
    "registered anew every time": """
class Net(nn.Module):
    def forward(self, x):
        self.drop = nn.Dropout(0.5) #!
        return self.drop(x)
""",
    "a class of this file, a Sequential": """
class DropPath(nn.Module):
    def forward(self, x):
        return x
class Net(nn.Module):
    def forward(self, x):
        x = x + DropPath(0.1)(x) #!
        return nn.Sequential(self.fc, nn.AlphaDropout(0.1), nn.SELU())(x) #!
""",
    "behind a flag of the constructor": """
class Net(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.drop = drop
    def forward(self, x):
        if self.drop:
            x = nn.Dropout(0.2)(x) #!
        return x
""",
    "in a function that a module calls": """
def head(x):
    return nn.Dropout(0.1)(x) #!
class Net(nn.Module):
    def forward(self, x):
        return head(x)
""",
    "ok: no mode of its own": """
class Net(nn.Module):
    def forward(self, x):
        x = nn.ReLU()(nn.Softmax(dim=1)(x))
        return nn.LeakyReLU(0.2)(nn.Flatten()(x))
""",
    "ok: its mode is set": """
class Net(nn.Module):
    def forward(self, x):
        x = nn.Dropout(0.5).train(self.training)(x)
        drop = nn.Dropout(0.5)
        drop.training = self.training
        other = nn.Dropout(0.5)
        other.train(self.training)
        return nn.Dropout(0.5).eval()(other(drop(x)))
""",
    "ok: made once, in __init__ or a method of it": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = self._make_layers(3)
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
        self.tail = self.stack()
    def _make_layers(self, n):
        return nn.Sequential(*[nn.Dropout(0.1) for _ in range(n)])
    def stack(self):
        layers = [nn.Dropout(0.5)]
        return nn.Sequential(*layers)
    def forward(self, x):
        return self.body(self.layers(x))
""",
    "ok: on first use": """
class Net(nn.Module):
    def forward(self, x):
        if self.drop is None:
            self.drop = nn.Dropout(0.5)
        return self.drop(x)
""",
    "ok: gated, or off": """
class Net(nn.Module):
    def forward(self, x):
        if self.training:
            x = nn.Dropout(0.5)(x)
        x = nn.Dropout(self.p if self.training else 0.0)(x)
        return nn.Dropout(0.0)(x)
""",
    "ok: outside of models": """
layer = nn.Dropout(0.5)
print(nn.Dropout(0.5)(torch.ones(3)))
def make(p):
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(p))
def test_layer(x):
    assert nn.Dropout(0.5)(x) is not None
""",
}
