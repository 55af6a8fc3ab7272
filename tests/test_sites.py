"""Sites: where reports point to."""

from __future__ import annotations

import linecache
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from dropcheck.capture import ExampleInput, capture, construction_sites
from dropcheck.graph import Node, Site


def built_from(path: Path, source: str, symbol: str = "Net") -> tuple[nn.Module, dict[str, Site]]:
    """The model ``symbol()`` of a file with that source, with its construction sites."""
    path.write_text(source, encoding="utf-8")
    linecache.checkcache(str(path))
    module = ModuleType(path.stem)
    exec(compile(source, str(path), "exec"), vars(module))
    with construction_sites() as built:
        model = getattr(module, symbol)()
    return model, built.by_path(model)


def nodes_of(path: Path, source: str, shape: tuple[int, ...] = (2, 4)) -> dict[str, Node]:
    model, built = built_from(
        path, "import torch, copy\nfrom torch import nn\nfrom torch.nn import functional as F\n" + source
    )
    graph = capture(model, [ExampleInput((torch.rand(shape),))], twin=lambda: model, built=built).graph
    return {node.name: node for node in graph}


def text_at(path: Path, site: Site | None) -> str:
    """The source text a site covers."""
    assert site is not None
    lines = path.read_text(encoding="utf-8").splitlines()[site.line - 1 : site.end_line]
    lines[-1] = lines[-1][: site.end_column - 1]
    lines[0] = lines[0][site.column - 1 :]
    return "\n".join(lines)


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "net.py"


def test_a_layer_is_reported_where_it_is_called_and_remembers_where_it_was_built(net: Path) -> None:
    nodes = nodes_of(net, """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(
            0.5)
    def forward(self, x):
        return F.relu(x) + self.drop(x)
""")  # fmt: skip
    drop = nodes["drop"]
    assert text_at(net, drop.site) == "self.drop(x)"
    assert text_at(net, drop.built) == "nn.Dropout(\n            0.5)"
    assert text_at(net, nodes["/relu"].site) == "F.relu(x)"
    assert text_at(net, nodes["/add"].site) == "F.relu(x) + self.drop(x)"
    assert drop.site is not None
    assert drop.site.path == "net.py"


def test_a_layer_called_by_a_container_is_reported_where_it_was_built(net: Path) -> None:
    nodes = nodes_of(net, """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for width in (4, 4):
            layers += [nn.Linear(width, 4), nn.Dropout(width / 10)]
        self.layers = nn.Sequential(*layers, nn.Sequential(nn.ReLU()))
    def forward(self, x):
        return self.layers(x)
""")  # fmt: skip
    assert [text_at(net, nodes[name].site) for name in ("layers.0", "layers.1", "layers.3", "layers.4.0")] == [
        "nn.Linear(width, 4)",
        "nn.Dropout(width / 10)",
        "nn.Dropout(width / 10)",
        "nn.ReLU()",
    ]


def test_a_layer_called_in_the_user_s_own_loop_is_reported_at_the_call(net: Path) -> None:
    nodes = nodes_of(net, """
class Stack(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
def Net():
    return Stack(nn.Dropout(0.1), nn.ReLU())
""")  # fmt: skip
    assert text_at(net, nodes["layers.0"].site) == "layer(x)"
    assert text_at(net, nodes["layers.0"].built) == "nn.Dropout(0.1)"


def test_a_subclass_is_built_where_its_constructor_is_called(net: Path) -> None:
    nodes = nodes_of(net, """
class Drop(nn.Dropout):
    def __init__(self, rate):
        super().__init__(p=rate)
def make(rate):
    return Drop(rate)
def Net():
    return nn.Sequential(make(0.2), copy.deepcopy(make(0.3)))
""")  # fmt: skip
    assert text_at(net, nodes["0"].site) == "Drop(rate)"
    assert text_at(net, nodes["1"].site).startswith("nn.Sequential(")  # a copy has no constructor call of its own


def test_columns_count_characters(net: Path) -> None:
    nodes = nodes_of(net, """
class Net(nn.Module):
    def forward(self, x):
        größe = "äöü"; return F.dropout(x, 0.5, self.training)
""")  # fmt: skip
    assert text_at(net, nodes["/dropout"].site) == "F.dropout(x, 0.5, self.training)"


def test_code_of_a_library_is_reported_at_the_user_s_call_of_it(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = net.parent / "site-packages" / "blocks.py"
    library.parent.mkdir()
    library.write_text("""
from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return self.drop(x)
""")
    monkeypatch.syspath_prepend(str(library.parent))
    monkeypatch.delitem(sys.modules, "blocks", raising=False)
    nodes = nodes_of(net, """
from blocks import Block
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
    def forward(self, x):
        return self.block(x)
""")  # fmt: skip
    assert text_at(net, nodes["block.drop"].site) == "self.block(x)"
    assert text_at(net, nodes["block.drop"].built) == "Block()"


def test_without_a_known_construction_a_container_s_layer_is_reported_at_the_container_s_call(net: Path) -> None:
    source = (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Dropout())\n    def forward(self, x):\n        return self.layers(x)\n"
    )
    model, _ = built_from(net, source)
    graph = capture(model, [ExampleInput((torch.rand(2, 4),))], twin=lambda: model).graph
    assert text_at(net, graph["layers.0"].site) == "self.layers(x)"
    bare = nn.Sequential(nn.Dropout())
    graph = capture(bare, [ExampleInput((torch.rand(2, 4),))], twin=lambda: bare).graph
    assert graph["0"].site is None


def test_the_constructor_is_put_back(net: Path) -> None:
    before = nn.Module.__init__
    with pytest.raises(ZeroDivisionError), construction_sites():
        raise ZeroDivisionError
    assert nn.Module.__init__ is before


@pytest.mark.parametrize("module", ["propagate", "library.propagate"])
def test_generated_code_is_reported_where_the_library_or_user_calls_it(
    net: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(net.parent))
    generated = net.parent / f"{module}_k3x_9q0z.py"
    generated.write_text("from torch.nn import functional as F\ndef run(x):\n    return F.dropout(x, 0.5)\n")
    nodes = nodes_of(net, f"module = {module!r}" + """
import importlib.util
def load(name, file):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
made, own = load(module, module + "_k3x_9q0z.py"), {}
exec("def scale(x): return F.relu(x)", globals(), own)
class Net(nn.Module):
    def forward(self, x):
        return own["scale"](made.run(x))
""")  # fmt: skip
    assert text_at(net, nodes["/dropout"].site) == "made.run(x)"
    assert text_at(net, nodes["/relu"].site) == 'own["scale"](made.run(x))'
