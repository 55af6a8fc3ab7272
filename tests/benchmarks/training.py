"""Trains the benchmark networks, once per cache."""

from __future__ import annotations

import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import Split, augmented, digits, series
from .nets import build

BATCH = 64


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network, what it was trained on, and its accuracy on held-out samples, in [0, 1]."""

    name: str
    model: nn.Sequential
    data: Split
    accuracy: float


def trained(name: str, seed: int, cache: Path | None = None) -> Trained:
    """The network of that name, from the cache if it is there."""
    torch.manual_seed(zlib.crc32(f"{name} {seed}".encode()))
    model = build(name)
    data = series() if name.startswith("series") else digits()
    stored = None if cache is None else cache / f"{name}-seed{seed}.pt"
    if stored is not None and stored.is_file():
        model.load_state_dict(torch.load(stored, weights_only=True))
    else:
        start = time.process_time()
        _train(model, data, _epochs(name), learning_rate=0.05 if name.startswith("mlp") else 0.1)
        sys.stderr.write(f"trained {name} in {time.process_time() - start:.0f} s\n")
        if stored is not None:
            stored.parent.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), stored)
    return Trained(name, model, data, accuracy(model, data))


def _epochs(name: str) -> int:
    """Enough to be trained, few enough for half a minute."""
    family = name.split("-")[0]
    known = {"mlp": 40, "series": 20, "strided": 20, "dense": 9, "wide": 8}
    return next((epochs for start, epochs in known.items() if family.startswith(start)), 12)


def _train(model: nn.Module, data: Split, epochs: int, learning_rate: float) -> None:
    """Nesterov momentum, the learning rate falling linearly to 0, independent samples in every batch."""
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    batches = len(data.inputs) // BATCH
    model.train()
    for epoch in range(epochs):
        inputs = augmented(data.inputs)
        order = torch.randperm(len(inputs))
        for place in range(batches):
            chosen = order[place * BATCH : (place + 1) * BATCH]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1.0 - (epoch * batches + place) / (epochs * batches))
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[chosen]), data.labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, data: Split) -> float:
    """The share of held-out samples that are classified rightly."""
    model.eval()
    guessed: Tensor = model(data.held_inputs).argmax(1)
    return float((guessed == data.held_labels).float().mean())
