"""Files that import packages that are not installed: what does without them is analysed, the rest is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Load

from dropcheck.job import CapturedModel, Job, Outcome
from dropcheck.result import ErrorKind, Status
from dropcheck.worker import Worker

NET = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"


def the_model(outcome: Outcome) -> CapturedModel:
    (model,) = outcome.models
    return model


def test_what_does_without_a_package_is_analysed(load: Load) -> None:
    outcome = load(
        """
        import abc
        import absent_plots as plots
        from absent_zoo.registry import MODELS, Metric
        from absent_zoo import nn as znn
        LEVEL = plots.level + 1
        @MODELS.register_module(name="net")
        class Named(plots.get("mixins").Named, abc.ABC, metaclass=znn.NamesMeta): ...
        class Net(znn.Described, Named, nn.Module, licence="free"):
            norm: znn.Norm[int] | None = None
            def __init__(self):
                super().__init__()
                self.accuracy = Metric(task="multiclass")
                self.layer = nn.Linear(4, 2)
            @plots.traced
            def forward(self, x):
                if isinstance(x, znn.Tensor): return x
                return self.layer(x)
        """
    )
    model = the_model(outcome)
    assert (model.status, model.input, outcome.errors) == (Status.ANALYSED, "2x4", ())
    assert model.without == ("absent_plots", "absent_zoo")


@pytest.mark.parametrize(
    ("layer", "forward", "needs"),
    [
        ("absent.Conv(4, 4)", "self.layer(x)", "absent.Conv"),
        ("nn.Sequential(absent.Conv(4, 4))", "self.layer(x)", "absent.Conv"),
        ("nn.Linear(absent.zoo().features, 4)", "self.layer(x)", "absent.zoo.features"),
        ("absent.rate", "nn.functional.relu(self.layer)", "absent"),
        ("nn.Identity()", "absent.ops.mean(x, 1)", "absent.ops.mean"),
        ("absent.wrap(nn.Linear(4, 4))", "self.layer(x)", "absent.wrap"),
        ("absent.rate", "x * (self.layer + 1)", "absent.rate"),
        ("nn.Identity()", "x * absent.scale(3)", "absent.scale"),
        ("nn.Identity()", "x if absent.flag() else -x", "absent.flag"),
    ],
)
def test_what_needs_it_fails_by_its_name(load: Load, layer: str, forward: str, needs: str) -> None:
    body = f"        self.layer = {layer}\n    def forward(self, x): return {forward}\n"
    outcome = load("import absent\n" + NET + body)
    (error,) = outcome.errors
    assert the_model(outcome).status is Status.FAILED
    assert needs in error.message
    assert "'absent' is not installed" in error.message
    assert error.hint == "install 'absent' into the environment dropcheck runs in: pip install absent"


@pytest.mark.parametrize("method", ["forward(self, x): return x", "__init__(self): self.fc = torch.nn.Linear(2, 2)"])
def test_a_model_whose_base_is_missing_is_named(load: Load, method: str) -> None:
    loss = "    def __init__(self): self.loss = nn.MSELoss()\n"
    outcome = load(f"import absent\nclass Net(absent.Base):\n    def {method}\nclass Task(absent.Set):\n{loss}")
    assert the_model(outcome).reason == "it derives from absent.Base, and 'absent' is not installed"
    assert [error.kind for error in outcome.errors] == [ErrorKind.IMPORT]


def test_a_lightning_module_is_a_module(load: Load) -> None:
    outcome = load(
        """
        import pytorch_lightning as pl
        class Net(pl.LightningModule):
            def __init__(self, width: int = 6):
                super().__init__()
                self.save_hyperparameters()
                self.layer = nn.Linear(self.hparams.width, 2)
            def forward(self, x): return self.layer(x)
        """
    )
    assert the_model(outcome).input == "2x6"


def test_imports_that_are_prepared_for_absence_get_none(load: Load) -> None:
    outcome = load(
        """
        import importlib.util
        try:
            import absent
        except ImportError:
            absent = None
        assert absent is None
        assert importlib.util.find_spec("absent") is None
        import absent_too
        net = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
        """
    )
    assert the_model(outcome).without == ("absent_too",)


def test_a_package_of_the_project_is_found_above_the_file(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "blocks.py").write_text("from torch import nn\nclass Block(nn.Linear): ...\n")
    (tmp_path / "scripts").mkdir()
    path = tmp_path / "scripts" / "train.py"
    path.write_text("from torch import nn\nfrom layers.blocks import Block\nnet = nn.Sequential(Block(5, 2))\n")
    (outcome,) = worker.run([Job("train.py", path=str(path))])
    assert (the_model(outcome).input, the_model(outcome).without) == ("2x5", ())
