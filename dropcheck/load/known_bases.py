"""Bases of models in packages that need not be installed: what a model gets from them, as far as its forward goes."""

from __future__ import annotations

import sys
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from torch import nn


class LightningModule(nn.Module):
    """Lightning's: hyperparameters, and training that is of no concern here."""

    def save_hyperparameters(self, *names: Any, **_: Any) -> None:
        """Keeps what the constructor was called with in ``hparams``."""
        frame = sys._getframe(1)
        code = frame.f_code
        known = {name: frame.f_locals[name] for name in code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]}
        chosen = [name for name in names if isinstance(name, str)] or list(known)
        self.hparams = SimpleNamespace(**{name: known[name] for name in chosen if name in known})

    def log(self, *_: Any, **__: Any) -> None:
        return None

    log_dict = log


class PreTrainedModel(nn.Module):
    """That of transformers: it keeps its configuration."""

    def __init__(self, config: Any = None, *_: Any, **__: Any) -> None:
        super().__init__()
        self.config = config

    def post_init(self) -> None:
        return None

    init_weights = post_init


class PretrainedConfig:
    """That of transformers: what it is given are its fields."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class AttributeDict(dict[str, Any]):
    """A dict whose keys are attributes, of easydict, addict, munch, yacs and others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, AttributeDict(value) if type(value) is dict else value)

    __setattr__ = __setitem__

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def clone(self) -> AttributeDict:
        return deepcopy(self)

    def freeze(self) -> None:
        return None

    defrost = freeze


class Mixin:
    """One that adds nothing to a forward."""


_LIGHTNING = ("pytorch_lightning", "lightning")
_ATTRIBUTE_DICTS = (
    ("easydict", "EasyDict"),
    ("addict", "Dict"),
    ("munch", "Munch"),
    ("yacs", "CfgNode"),
    ("ml_collections", "ConfigDict"),
    ("omegaconf", "create"),
)

KNOWN_BASES: dict[tuple[str, str], type] = {
    **{(package, "LightningModule"): LightningModule for package in _LIGHTNING},
    ("transformers", "PreTrainedModel"): PreTrainedModel,
    ("transformers", "PretrainedConfig"): PretrainedConfig,
    **dict.fromkeys(_ATTRIBUTE_DICTS, AttributeDict),
    ("huggingface_hub", "PyTorchModelHubMixin"): Mixin,
}
"""By package and name."""
