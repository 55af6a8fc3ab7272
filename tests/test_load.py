"""From a file to captured models: what is imported and how, what is built with which arguments, on which input."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from commands import Load

from dropcheck.job import CapturedModel, Job, Outcome
from dropcheck.result import ErrorKind, Status
from dropcheck.worker import Worker

HEAD = "import os, sys\nimport torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
LAYERS = "nn.Linear(4, 8), nn.Dropout(), nn.BatchNorm1d(8)"


@pytest.fixture
def load(load: Load) -> Load:
    return partial(load, head=HEAD)


def summary(outcome: Outcome) -> dict[str, str]:
    """Symbol → how it went: the input it was captured on, or why it was not."""
    assert outcome.errors == ()
    return {model.target.removeprefix("nets.py:"): told(model) for model in outcome.models}


def told(model: CapturedModel) -> str:
    if model.status is Status.ANALYSED:
        return f"({model.arguments}) {model.input}"
    return ("by design: " if model.by_design else "") + str(model.reason)


def test_the_models_of_a_file(load: Load) -> None:
    outcome = load(
        f"""
        class Base(nn.Module):
            def helper(self): return 1
        class Part(nn.Sequential):
            def __init__(self, width): super().__init__({LAYERS})
        class Net(Base):
            def __init__(self, width):
                super().__init__()
                self.part = Part(width)
            def forward(self, x): return self.part(x)
        class Alone(nn.Module):
            def __init__(self, p=0.5):
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(6, 3), nn.Dropout(p))
            def forward(self, x): return self.layers(x)
        def layer(width): return nn.Linear(4, width)
        def small() -> Net: return Net(8)
        def train(net, data): return net
        alone = Alone()
        other = Alone(0.25)
        loss = nn.CrossEntropyLoss()
        if __name__ == "__main__":
            raise SystemExit("must not run")
        """
    )
    assert summary(outcome) == {
        "alone": "(None) 2x6",
        "other": "(None) 2x6",
        "small": "() 2x4",
        "Net": "by design: built by nets.py:small",
        "Part": "by design: part of nets.py:small",
        "Base": "by design: it defines no forward: a base for other classes",
        "Alone": "by design: the same network as nets.py:alone",
    }


def test_a_part_that_cannot_stand_alone_is_no_failure(load: Load) -> None:
    outcome = load(
        """
        class Gate(nn.Module):
            def __init__(self, recipe: str):
                super().__init__()
                self.layer = nn.Linear(int(recipe.partition("x")[0]), 4)
            def forward(self, x): return self.layer(x)
        class Net(nn.Sequential):
            def __init__(self, recipe=None):
                super().__init__(nn.Linear(4, 4) if recipe is None else Gate(recipe))
        def build(recipe: str):
            return Net(recipe)
        """
    )
    assert summary(outcome) == {
        "Net": "() 2x4",
        "Gate": "by design: part of nets.py:Net",
        "build": "by design: makes nets.py:Net with other arguments",
    }


def test_nothing_is_downloaded(load: Load) -> None:
    outcome = load(
        """
        def net(pretrained=True, weights="IMAGENET1K"):
            assert not pretrained and weights is None
            return nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        """
    )
    assert summary(outcome) == {"net": "(pretrained=False, weights=None) 2x4"}


@pytest.mark.parametrize(
    ("file", "neighbour"),
    [("zoo/nets.py", "zoo/base.py"), ("zoo/deep/nets.py", "zoo/base.py"), ("my-zoo.v2/nets.py", "my-zoo.v2/base.py")],
)
@pytest.mark.parametrize("declared", [True, False])
def test_relative_imports_work_with_and_without_init_files(
    load: Load, tmp_path: Path, file: str, neighbour: str, declared: bool
) -> None:
    (tmp_path / neighbour).parent.mkdir(exist_ok=True)
    (tmp_path / neighbour).write_text("WIDTH = 7\n")
    if declared and "." not in neighbour.partition("/")[0]:
        for parent in Path(file).parents[:-1]:
            (tmp_path / parent).mkdir(exist_ok=True)
            (tmp_path / parent / "__init__.py").touch()
    dots = "." * file.count("/")
    outcome = load(
        f"""
        from {dots}base import WIDTH
        class Net(nn.Sequential):
            def __init__(self): super().__init__(nn.Linear(WIDTH, 2), nn.ReLU())
        """,
        file=file,
    )
    assert summary(outcome) == {"Net": "() 2x7"}


def test_neighbours_and_the_working_directory_are_importable(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "sizes.py").write_text("WIDTH = 5\n")
    outcome = load(
        """
        from sizes import WIDTH
        assert sys.argv == [__file__]
        assert sys.stdin.read() == ""
        assert __name__ == "linted_random"
        class Net(nn.Sequential):
            def __init__(self): super().__init__(nn.Linear(WIDTH, 2), nn.ReLU())
        """,
        file="scripts/random.py",
    )
    assert summary(outcome) == {"Net": "() 2x5"}


def test_what_a_neighbour_does_with_an_argument_counts(load: Load, tmp_path: Path) -> None:
    (tmp_path / "heads.py").write_text(
        "from torch import nn\n"
        "class Head(nn.Sequential):\n"
        "    def __init__(self, fits): super().__init__(*(nn.Linear(5, 5) for _ in fits))\n"
    )
    outcome = load(
        """
        from heads import Head
        class Net(nn.Module):
            def __init__(self, fits):
                super().__init__()
                self.head = Head(fits)
            def forward(self, x): return self.head(x)
        """
    )
    assert summary(outcome) == {"Net": "(fits=[16, 32]) 2x5"}


def test_a_package_that_fails_does_not_stand_in_the_way_of_a_file_that_does_not_need_it(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "__init__.py").write_text("raise OSError('no licence')\n")
    assert summary(load(f"net = nn.Sequential({LAYERS})", file="zoo/nets.py")) == {"net": "(None) 2x4"}
    (error,) = load(f"from . import base\nnet = nn.Sequential({LAYERS})", file="zoo/nets.py").errors
    assert (error.path, error.kind) == ("nets.py", ErrorKind.IMPORT)
    assert error.message == "importing it failed: OSError: no licence (__init__.py, line 1)"


def test_installed_modules_are_targets_too(worker: Worker) -> None:
    good, bad = worker.run(
        [
            Job("torch.nn", module="torch.nn", symbol="Linear", call="3, 4"),
            Job("torch.nope", module="torch.nope", symbol="Net"),
        ]
    )
    assert [(model.target, model.arguments, model.input) for model in good.models] == [
        ("torch.nn:Linear", "3, 4", "2x3")
    ]
    assert [(error.kind, error.message) for error in bad.errors] == [
        (ErrorKind.IMPORT, "there is no module named 'torch.nope'")
    ]


ZOO = f"""
class Net(nn.Module):
    def __init__(self, depth, p=0.5):
        super().__init__()
        if depth % 2: raise ValueError("depth must be even\\nreally")
        self.layers = nn.Sequential({LAYERS})
    def forward(self, x): return self.layers(x)
    class Inner(nn.Sequential):
        def __init__(self): super().__init__({LAYERS})
class Config: width = 3
def number(): return 3
net = Net(2)
"""


@pytest.mark.parametrize(
    ("target", "kind", "message", "hint"),
    [
        ("Nett", ErrorKind.CONFIG, "nets.py has no 'Nett'", "did you mean Net or net?"),
        ("Net.Outer", ErrorKind.CONFIG, "nets.py has no 'Net.Outer'", "did you mean Net"),
        ("zzz", ErrorKind.CONFIG, "nets.py has no 'zzz'", "choose from Net, number, net"),
        ("Config", ErrorKind.CONFIG, "Config is a class, no model", "name an nn.Module class"),
        ("os", ErrorKind.CONFIG, "os is a module, no model", "name an nn.Module class"),
        ("net(3)", ErrorKind.CONFIG, "net is an instance, not a class or function: it takes no arguments", "name it"),
        ("Net(2, width=3)", ErrorKind.CONFIG, "wrong arguments (2, width=3): got an unexpected", "it takes (depth, p)"),
        (
            "Net(3)",
            ErrorKind.CONSTRUCT,
            "constructing Net failed: ValueError: depth must be even (nets.py, line 9)",
            "",
        ),
        (
            "number",
            ErrorKind.CONSTRUCT,
            "constructing number failed: TypeError: expected an nn.Module, got int",
            "",
        ),
    ],
)
def test_wrong_symbols_and_arguments(load: Load, target: str, kind: ErrorKind, message: str, hint: str) -> None:
    (error,) = load(ZOO, target).errors
    assert error.path == f"nets.py:{target.partition('(')[0]}"
    assert error.kind is kind
    assert error.message.startswith(message)
    assert error.hint.startswith(hint)


def test_named_symbols(load: Load) -> None:
    assert summary(load(ZOO, "Net(4, p=0.25)")) == {"Net": "(4, p=0.25) 2x4"}
    assert summary(load(ZOO, "Net(p=0.25)")) == {"Net": "(p=0.25, depth=2) 2x4"}
    assert summary(load(ZOO, "Net.Inner")) == {"Net.Inner": "() 2x4"}
    assert summary(load(ZOO, "net", input="5x4")) == {"net": "(None) 5x4"}


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ("2x5", "with --input 2x5 forward raised RuntimeError"),
        ("2x4,2x4", "--input gives 2 inputs, forward takes (x): too many positional arguments"),
    ],
)
def test_inputs_that_do_not_fit(load: Load, input: str, message: str) -> None:
    outcome = load(ZOO, "net", input=input)
    (error,), (model,) = outcome.errors, outcome.models
    assert (error.path, error.kind) == ("nets.py:net", ErrorKind.CAPTURE)
    assert error.message.startswith(message)
    assert (model.status, model.reason) == (Status.FAILED, error.message)


def test_what_cannot_be_guessed_is_skipped_with_the_line_to_write(load: Load) -> None:
    outcome = load(
        """
        class Net(nn.Module):
            def __init__(self, config, width):
                super().__init__()
                self.layer = getattr(nn, config.kind)(width, width)
            def forward(self, x): return self.layer(x)
        """
    )
    (model,) = outcome.models
    assert (model.status, model.by_design, outcome.errors) == (Status.SKIPPED, False, ())
    assert model.reason == (
        "no value is known for argument config (it reads config.kind); write them: "
        "dropcheck lint 'nets.py:Net(config=..., width=16)', or a function without arguments that returns it"
    )


def test_what_fails_with_guessed_arguments_is_skipped_not_failed(load: Load) -> None:
    source = """
        class Net(nn.Module):
            def __init__(self, depth):
                super().__init__()
                if depth < 1000: raise ValueError("too shallow")
            def forward(self, x): return x
        """
    outcome = load(source)
    assert [model.status for model in outcome.models] == [Status.SKIPPED]
    assert outcome.models[0].reason == (
        "constructing Net failed: ValueError: too shallow (nets.py, line 9) with the guessed arguments depth=2; "
        "write them: dropcheck lint 'nets.py:Net(depth=2)', or a function without arguments that returns it"
    )


def test_inputs_are_inferred_from_the_first_layer(load: Load) -> None:
    def module(name: str, layers: str, forward: str = "(self, x): return self.layers(x)") -> str:
        return (
            f"class {name}(nn.Module):\n"
            f"    def __init__(self, seq_len=12):\n        super().__init__()\n        self.layers = {layers}\n"
            f"    def forward{forward}\n"
        )

    flat = "(self, x): return self.layers(torch.flatten(x, 1) if x.dim() == 4 else x.size(99))"
    source = (
        module("Image", "nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))")
        + module("Digits", "nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(4 * 24 * 24, 2))")
        + module("Larger", "nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(4 * 28 * 28, 2))")
        + module("Wave", "nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4))")
        + module("Volume", "nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4))")
        + module("Words", "nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 2))")
        + module("Steps", "nn.GRU(6, 4, batch_first=True)")
        + module("Flat", "nn.Sequential(nn.Linear(784, 4), nn.ReLU())", flat)
        + module("Pair", "nn.Sequential(nn.Linear(5, 4))", "(self, x, y): return self.layers(x) + self.layers(y)")
        + module("Masked", "nn.Linear(5, 4)", "(self, x, mask, t: int): return self.layers(x) * mask.sum() * t")
        + module("Double", "nn.Linear(5, 4).double()")
    )
    assert summary(load(source)) == {
        "Image": "() 2x3x32x32",
        "Digits": "() 2x1x28x28",
        "Larger": "() 2x3x224x224",
        "Wave": "() 2x2x12",
        "Volume": "() 2x1x16x16x16",
        "Words": "() 2x12:int64",
        "Steps": "() 2x12x6",
        "Flat": "() 2x1x28x28",
        "Pair": "() 2x5,2x5",
        "Masked": "() 2x5,2x16:bool,1",
        "Double": "() 2x5:float64",
    }


def test_inputs_that_models_declare_come_first(load: Load) -> None:
    layers = "super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))"
    outcome = load(
        f"""
        class Lightning(nn.Sequential):
            def __init__(self):
                {layers}
                self.example_input_array = torch.zeros(4, 3, 17, 17)
        class Timm(nn.Sequential):
            default_cfg = dict(input_size=(3, 40, 40))
            def __init__(self): {layers}; self.name = "another"; self.extra = nn.ReLU()
        """
    )
    assert summary(outcome) == {"Lightning": "() 4x3x17x17", "Timm": "() 2x3x40x40"}


def test_a_model_of_billions_of_parameters_is_captured_without_its_memory(load: Load) -> None:
    outcome = load(
        """
        import resource
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.Sequential(*(nn.Linear(20_000, 20_000) for _ in range(4)), nn.BatchNorm1d(20_000))
                self.apply(self.initialise)
            def initialise(self, layer):
                if isinstance(layer, nn.Linear): layer.weight.data.normal_(0.0, 0.02)
            def forward(self, x):
                assert sum(p.numel() for p in self.parameters()) > 1_500_000_000
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on macOS bytes
                assert peak < 2_000_000 * (1024 if sys.platform == "darwin" else 1)
                return self.layers(x)
        """
    )
    assert summary(outcome) == {"Net": "() 2x20000"}


def test_ordinary_models_do_without_slow_imports(load: Load) -> None:
    outcome = load(
        """
        class Net(nn.Module):
            def __init__(self, d=32):
                super().__init__()
                self.patch = nn.Conv2d(3, d, 8, 8)
                self.position = nn.Parameter(torch.zeros(1, 16, d))
                self.layers = nn.ModuleList(nn.TransformerEncoderLayer(d, 4, batch_first=True) for _ in range(2))
                self.norm = nn.BatchNorm1d(d)
                nn.init.trunc_normal_(self.position, std=0.02)
                for p in self.parameters():
                    if p.dim() > 1: nn.init.xavier_uniform_(p)
            def forward(self, x):
                assert not {"sympy", "torch._dynamo", "numpy.random"} & set(sys.modules)
                x = self.patch(x).flatten(2).transpose(1, 2) + self.position
                for layer in self.layers: x = layer(x)
                return self.norm(x.mean(1))
        """
    )
    assert summary(outcome) == {"Net": "() 2x3x32x32"}
