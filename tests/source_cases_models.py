"""As ``source_cases``, for attention and for Monte Carlo dropout."""

from __future__ import annotations

ATTENTION = {
    "the rate of the constructor": """
class Attention(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.dropout = dropout
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout) #!
""",
    "by position, of a dropout layer": """
class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.attn_drop = nn.Dropout(p)
    def forward(self, q, k, v, mask):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, self.attn_drop.p) #!
""",
    "imported by name, of a configuration, a literal": """
from torch.nn.functional import scaled_dot_product_attention as sdpa
class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
    def forward(self, q, k, v):
        y = sdpa(q, k, v, dropout_p=self.config.attn_pdrop, is_causal=True) #!
        return sdpa(y, k, v, dropout_p=0.1) #!
""",
    "flash-attn": """
try:
    from flash_attn import flash_attn_func, flash_attn_varlen_func
    from flash_attn.flash_attn_interface import flash_attn_qkvpacked_func
except ImportError:
    flash_attn_func = None
class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
    def forward(self, q, k, v, qkv, lengths, most):
        x = flash_attn_func(q, k, v, self.p, causal=True) #!
        y = flash_attn_varlen_func(q, k, v, lengths, lengths, most, most, dropout_p=self.p) #!
        return x + y + flash_attn_qkvpacked_func(qkv, self.p) #!
""",
    "xformers": """
import xformers.ops as xops
class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.drop = p
    def forward(self, q, k, v, bias):
        return xops.memory_efficient_attention(q, k, v, attn_bias=bias, p=self.drop) #!
""",
    "multi_head_attention_forward": """
class Attention(nn.Module):
    def forward(self, q, k, v):
        return F.multi_head_attention_forward( #!
            q, k, v, 64, 4, self.w, self.b, None, None, False, self.dropout_rate, self.o, self.ob
        )
    def __init__(self, rate):
        super().__init__()
        self.dropout_rate = rate
""",
    "a rate test is no gate, and a constructor knows no mode": """
class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p if self.training else 0.0
    def forward(self, q, k, v):
        if self.p > 0:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=self.p) #!
        return F.scaled_dot_product_attention(q, k, v)
""",
    "a function to which a module hands its rate": """
def attend(q, k, v, rate):
    return F.scaled_dot_product_attention(q, k, v, None, rate) #!
class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
    def forward(self, q, k, v):
        return attend(q, k, v, self.p)
""",
    "ok: zero in evaluation": """
class Attention(nn.Module):
    def forward(self, q, k, v):
        p = self.p if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)
        x = F.scaled_dot_product_attention(x, k, v, None, p)
        x = F.scaled_dot_product_attention(x, k, v, dropout_p=(self.dropout.p if self.training else 0))
        return F.scaled_dot_product_attention(x, k, v, dropout_p=0.0 if not self.training else self.p)
""",
    "ok: helper attributes and methods": """
class Attention(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p, self.rate = p, 0.0
    @property
    def drop_now(self):
        return self.p if self.training else 0.0
    def _p(self):
        if not self.training:
            return 0.0
        return self.p
    def train(self, mode=True):
        self.rate = self.p if mode else 0.0
        return super().train(mode)
    def forward(self, q, k, v):
        self.now = self.p if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.drop_now)
        x = F.scaled_dot_product_attention(x, k, v, dropout_p=self._p())
        x = F.scaled_dot_product_attention(x, k, v, dropout_p=self.now)
        return F.scaled_dot_product_attention(x, k, v, dropout_p=self.rate)
""",
    "ok: zero, or left out": """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = 0.0
    def forward(self, q, k, v):
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False)
        return F.scaled_dot_product_attention(x, k, v, dropout_p=self.dropout) + F.scaled_dot_product_attention(q, k, v)
""",
    "ok: a rate that callers pass": """
from flash_attn import flash_attn_func
def attention(q, k, v, dropout_p=0.0, **options):
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p, **options)
class Core(nn.Module):
    def forward(self, q, k, v, p):
        return flash_attn_func(q, k, v, dropout_p=p)
class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        return flash_attn_func(q, k, v, dropout_p=ctx.dropout_p)
""",
    "ok: the flag of multi_head_attention_forward, a branch": """
class Attention(nn.Module):
    def forward(self, q, k, v):
        if not self.training:
            return F.scaled_dot_product_attention(q, k, v)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p)
        return x
    def other(self, q, k, v):
        return F.multi_head_attention_forward(
            q, k, v, 64, 4, self.w, self.b, None, None, False, self.p, self.o, self.ob, training=self.training
        )
""",
    "ok: a module hands on what is zero in evaluation": """
def attend(q, k, v, rate=0.0):
    return F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
class Attention(nn.Module):
    def forward(self, q, k, v):
        return attend(q, k, v, rate=self.p if self.training else 0.0) + attend(q, k, v)
""",
}

_BN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.drop = nn.BatchNorm1d(8), nn.Dropout()
"""
MONTE_CARLO = {
    "a model kept on self, methods around it, a lambda": """
class Sampler:
    def on(self):
        self.model.train() #!
    def once(self, x):
        return self.model(x).softmax(-1)
    def __call__(self, x):
        self.on()
        with torch.inference_mode():
            return torch.stack([self.once(x) for _ in range(9)])
def spread(model, x):
    model.train() #!
    with torch.no_grad():
        return torch.stack(list(map(lambda _: model(x), range(9)))).std(0)
""",
    "ok: a function that leaves batch norms in evaluation mode, one that only runs the model": """
def enable(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
def predict(model, x):
    enable(model)
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(9)])
def on(model):
    model.train()
def warm_up(model, x):
    on(model)
    for _ in range(9):
        model(x)
""",
    "samples under no_grad": """
def predict(model, x, n):
    model.train() #!
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(n)]).mean(0)
""",
    "a decorator, a list that grows": """
@torch.no_grad()
def uncertainty(net, loader, n=50):
    net.train(True) #!
    outputs = []
    for x, _ in loader:
        outputs.append(torch.stack([net(x).softmax(1) for _ in range(n)]))
    return torch.cat(outputs, 1).std(0)
""",
    "counted samples without no_grad": """
def mc_forward(model, x, passes):
    model.train() #!
    results = []
    for _ in range(passes):
        results.append(model(x).detach())
    model.eval()
    return torch.stack(results)
""",
    "a model that predicts about itself": _BN
    + """
    def sample(self, x, n):
        self.train() #!
        with torch.inference_mode():
            return [self.forward(x) for _ in range(n)]
""",
    "of an object, aliased no_grad": """
from torch import no_grad
class Predictor:
    def __init__(self, model):
        self.model = model
    def __call__(self, x):
        self.model.train() #!
        with no_grad():
            y = self.model(x)
        return y
""",
    "in a script": _BN
    + """
model = Net()
x = torch.ones(4, 8)
model.train() #!
with torch.no_grad():
    samples = [model(x) for _ in range(100)]
""",
    "ok: the dropouts alone": """
def enable_dropout(model):
    for m in model.modules():
        if m.__class__.__name__.startswith('Dropout'):
            m.train()
def predict(model, x, n):
    model.eval()
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.train()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(n)])
""",
    "ok: batch norms put back": """
def predict(model, x, n):
    model.train()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(n)])
""",
    "ok: training loops": """
def train_epoch(model, loader, optimizer, criterion):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
def mean_teacher(student, teacher, x, optim):
    student.train()
    teacher.train()
    with torch.no_grad():
        target = teacher(x)
    F.mse_loss(student(x), target).backward()
    optim.step()
""",
    "ok: evaluation that goes back to training": """
def evaluate(model, loader):
    model.eval()
    outputs = []
    with torch.no_grad():
        for x in loader:
            outputs.append(model(x))
    model.train()
    return outputs
""",
    "ok: statistics alone": """
@torch.no_grad()
def refresh_statistics(model, loader):
    model.train()
    for x in loader:
        model(x)
    model.eval()
""",
    "ok: a model without batch norm": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm, self.drop = nn.Linear(8, 8), nn.LayerNorm(8), nn.Dropout()
    def forward(self, x):
        return self.drop(self.norm(self.fc(x)))
    def sample(self, x):
        self.train()
        with torch.no_grad():
            return self(x)
net = Net()
def predict(x):
    net.train()
    with torch.no_grad():
        return net(x)
""",
    "ok: back to the mode it had, nothing predicted": """
def evaluate(model, x):
    was = model.training
    model.eval()
    with torch.no_grad():
        y = model(x)
    model.train(was)
    return y
def begin(model):
    model.train()
    return model
""",
}
