"""As ``source_cases``, for layers that are not called or not reached."""

from __future__ import annotations

UNUSED = {
    "plain": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.dropout = nn.Dropout(p=0.5) #!
    def forward(self, x):
        return self.fc(x)
""",
    "one of several": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.drop1 = nn.Dropout(0.1)
        self.drop2 = nn.Dropout2d(0.1) #!
    def forward(self, x):
        return self.drop1(self.fc(x))
""",
    "under a condition": """
class Net(nn.Module):
    def __init__(self, p):
        super().__init__()
        if p > 0:
            self.dropout = nn.Dropout(p) #!
        self.other = nn.Dropout(p) if p else None #!
    def forward(self, x):
        return x
""",
    "a list of them, aliased": """
from torch.nn import Dropout, Module, ModuleList
class Net(Module):
    def __init__(self):
        super().__init__()
        self.drops = ModuleList([Dropout(0.1) for _ in range(3)]) #!
    def forward(self, x):
        return x
""",
    "in one class, read by none": """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop_path, self.fc = nn.Dropout(0.1), nn.Linear(3, 3) #!
    def forward(self, x):
        return x + self.fc(x)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
    def forward(self, x):
        return self.block(x)
""",
    "ok: called, handed on, read": """
class Net(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Dropout(p), nn.Dropout(p), nn.Dropout(p), nn.Dropout(p)
        self.body = nn.Sequential(nn.Linear(3, 3), self.b)
    def forward(self, x):
        x = apply(self.c, self.a(x))
        return F.dropout(self.body(x), self.d.p, self.training)
""",
    "ok: by name, by children": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop_1 = nn.Dropout()
    def forward(self, x):
        return getattr(self, f'drop_{1}')(x)
class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop_it = nn.Dropout()
    def forward(self, x):
        for layer in self._modules.values():
            x = layer(x)
        return x
""",
    "ok: read by a base, an heir or another class": """
class Base(nn.Module):
    def forward(self, x):
        return self.dropout(x)
class Net(Base):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout()
        self.extra = nn.Dropout()
        self.third = nn.Dropout()
class Heir(Net):
    def forward(self, x):
        return self.extra(x)
class User(nn.Module):
    def forward(self, x):
        return self.net.third(x)
""",
    "ok: a base from elsewhere": """
from torchvision.models import ResNet
class Net(ResNet):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout()
    def forward(self, x):
        return super().forward(x)
""",
    "ok: no forward here, no module": """
class Mixin(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout()
class Config:
    def __init__(self):
        self.dropout = nn.Dropout()
    def forward(self, x):
        return x
""",
    "ok: looked up in a table": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()
    def forward(self, x):
        for name in ['drop']:
            x = self.get_submodule(name)(x)
        return x
""",
}

UNREGISTERED = {
    "a list": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drops = [nn.Dropout(0.1), nn.ReLU()] #!
    def forward(self, x):
        return self.drops[0](x)
""",
    "a list of blocks that hold batch norms": """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(3)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = []
        for _ in range(3):
            blocks.append(Block()) #!
        self.blocks = blocks
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x
""",
    "a dict, by key": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = {}
        self.parts['drop'] = nn.Dropout(0.1) #!
        self.norms = dict()
        self.norms.update({'a': nn.BatchNorm2d(8)}) #!
    def forward(self, x):
        return self.parts['drop'](self.norms['a'](x))
""",
    "a Sequential in a list, times n": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Sequential(nn.Linear(3, 3), nn.Dropout())] * 3 #!
    def forward(self, x):
        return self.layers[0](x)
""",
    "outside of the model, in the class body": """
drop = nn.Dropout(0.5) #!
class Net(nn.Module):
    inner = nn.Dropout(0.2) #!
    def forward(self, x):
        return self.inner(drop(x))
""",
    "train() without super()": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()
    def train(self, mode: bool = True): #!
        self.training = mode
    def forward(self, x):
        return self.drop(x)
""",
    "train() without super(), dropout inside other layers": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 3, 2, dropout=0.2)
    def train(self, mode=True): #!
        self.training = mode
        return self
    def forward(self, x):
        return self.rnn(x)
""",
    "eval() without super()": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    def eval(self): #!
        self.training = False
        return self
    def forward(self, x):
        return self.net(x)
""",
    "train() of a part": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1))
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 3)
    def train(self, mode=True): #!
        self.training = mode
        self.norm.train(mode)
        return self
    def forward(self, x):
        return self.head(self.norm(self.body(x)))
""",
    "several in one line, one finding": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Dropout(0.1), nn.Dropout(0.2), nn.BatchNorm1d(3)] #!
    def forward(self, x):
        return self.layers[0](x)
""",
    "ok: registering containers": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(3, 3)]
        layers += [nn.Dropout(0.1)]
        layers.append(nn.BatchNorm1d(3))
        self.body = nn.Sequential(*layers)
        self.parts = nn.ModuleDict({'drop': nn.Dropout()})
        self.more = nn.ModuleList([nn.Dropout() for _ in range(2)])
    def forward(self, x):
        return self.body(x)
""",
    "ok: registered as well": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Dropout()]
        for i, layer in enumerate(self.layers):
            self.add_module(f'layer{i}', layer)
class Other(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = [nn.Dropout(), nn.BatchNorm1d(3)]
        self.all = nn.ModuleList(self.blocks)
        kept = [nn.Dropout()]
        self.kept = kept
        self.body = nn.Sequential(*kept)
        self.drop = nn.Dropout()
        self.order = [self.drop, self.body]
""",
    "ok: no mode": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.acts = [nn.ReLU(), nn.GELU()]
        self.sizes = [1, 2, 3]
        self.rates = {'dropout': 0.5}
        self.norms = [nn.LayerNorm(3)]
    def forward(self, x):
        return self.acts[0](x)
""",
    "ok: train() that reaches its layers": """
class A(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.drops = nn.BatchNorm1d(3), [nn.Dropout()]
    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        for drop in self.drops:
            drop.train(mode)
        return self
class B(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()
    def train(self, mode=True):
        nn.Module.train(self, mode)
class C(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()
    def train(self, mode=True):
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self
class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.norm = nn.Dropout(), nn.BatchNorm1d(3)
    def train(self, mode=True):
        self.drop.train(mode)
        self.norm.eval()
        return self
class E(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.norm = nn.Dropout(), nn.BatchNorm1d(3)
    def train(self, mode=True):
        for part in (self.drop, self.norm):
            part.train(mode)
""",
    "ok: a method that trains": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()
    def train(self, loader, optimizer):
        for x in loader:
            self(x).sum().backward()
            optimizer.step()
""",
    "ok: no layers with a mode, no module": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
    def train(self, mode=True):
        self.training = mode
class Ensemble:
    def __init__(self):
        self.models = [nn.Sequential(nn.Dropout()) for _ in range(3)]
""",
    "ok: used in training alone": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drops = [nn.Dropout()]
    def forward(self, x):
        if self.training:
            x = self.drops[0](x)
        return x
""",
}
