"""As ``source_cases``, for masks made by hand and layers made in forward."""

from __future__ import annotations

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
    "a tensor that grows in place": """
class NGCF(nn.Module):
    def sparse_dropout(self, x, rate, size):
        random_tensor = 1 - rate
        random_tensor += torch.rand(size).to(x.device) #!
        keep = torch.floor(random_tensor).type(torch.bool)
        index, values = x._indices()[:, keep], x._values()[keep]
        return torch.sparse.FloatTensor(index, values, x.shape) * (1.0 / (1 - rate))
    def __init__(self, rate):
        super().__init__()
        self.node_dropout = rate
    def forward(self, users):
        return self.sparse_dropout(self.adjacency, self.node_dropout, self.adjacency._nnz())
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
class FrequencyMasking(nn.Module):
    def forward(self, x):
        return x * (torch.rand(x.shape[0], x.shape[1], 1) > 0.1)
class ChannelDrop(nn.Module):
    '''Augmentation: an electrode that came loose.'''
    def forward(self, x):
        return x * (torch.rand(x.shape[0], x.shape[1], 1) > 0.1)
""",
    "a layer that is no augmentation for its name, a model for its docstring": """
class RandomDropPath(nn.Module):
    def forward(self, x):
        return x * (torch.rand(x.shape[0], 1, 1) > 0.1) #!
class Net(nn.Module):
    '''Trained with augmentation.'''
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
    def forward(self, x):
        return self.fc(x) * (torch.rand(x.shape[0], 3) > 0.1) #!
""",
    "ok: a choice between two": """
class Net(nn.Module):
    def forward(self, x):
        pick = (torch.rand(x.shape[0], 1) < 0.5).float()
        x = pick * self.a(x) + (1 - pick) * self.b(x)
        late = torch.bernoulli(torch.full((len(x), 1), 0.3))
        x = self.a(x) * (1.0 - late[:, :1]) + x * 2 * late[:, :1]
        other = torch.rand_like(x) < self.mix_prob
        x = x * ~other + other.float() * x.flip(1)
        x = torch.where(torch.rand_like(x) < 0.5, x, self.token)
        masked = torch.rand(x.shape) < 0.15
        loss = self.loss(x.masked_fill(~masked, -100))
        return self.bert(x.masked_fill(masked, 103)) + self.bert(x.masked_fill(masked, self.mask_id)) + loss
""",
    "a choice between one and nothing": """
class Net(nn.Module):
    def forward(self, x):
        x = torch.where(torch.rand_like(x) < 0.5, x, torch.zeros_like(x)) #!
        keep = torch.rand_like(x) < 0.8 #!
        return x + keep * self.a(x)
""",
    "two masks, added": """
class Net(nn.Module):
    def forward(self, x):
        one = torch.rand_like(x) < 0.8 #!
        two = torch.rand_like(x) < 0.8 #!
        return one * self.a(x) + two * self.b(x)
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
