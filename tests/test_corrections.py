"""What is learnt from a forward that failed: each message is torch's own, got by running the layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dropcheck.load.corrections import corrected
from dropcheck.load.inputs import Examples
from dropcheck.source import InputSpec


def failure(forward: Callable[..., object], *shapes: tuple[int, ...]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever torch raises
        forward(*(torch.zeros(shape) for shape in shapes))
    return str(caught.value)


def unpacked(x: Tensor) -> object:
    one, two, three, four = x.shape
    return one, two, three, four


@pytest.mark.parametrize(
    ("forward", "shape", "wanted"),
    [
        (nn.Linear(512, 10), (2, 64), (2, 512)),
        (nn.Linear(512, 10), (2, 16, 64), (2, 16, 512)),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10)), (2, 3, 32, 32), (2, 3, 28, 28)),
        (nn.Conv2d(3, 8, 3), (2, 1, 32, 32), (2, 3, 32, 32)),
        (nn.BatchNorm2d(8), (2, 8), (2, 8, 8, 8)),
        (nn.BatchNorm1d(8), (2, 8, 4, 4), (2, 8)),
        (nn.BatchNorm1d(8), (2, 4), (2, 8)),
        (nn.Conv2d(6, 8, 3), (2, 6), (2, 6, 8, 8)),
        (nn.LSTM(40, 8), (2, 16, 64), (2, 16, 40)),
        (nn.LayerNorm(48), (2, 16, 32), (2, 16, 48)),
        (nn.MaxPool2d(9), (2, 3, 4, 4), (2, 3, 16, 16)),
        (lambda x: x.view(2, 16 * 25), (2, 16, 10, 10), (2, 16, 5, 5)),
        (lambda x: x + torch.zeros(2, 7, 5), (2, 9, 5), (2, 7, 5)),
        (unpacked, (2, 3, 4), (2, 4, 3, 8)),
        (lambda x: x.mean(3), (2, 3, 4), (2, 4, 3, 8)),
        (lambda x: x.permute(0, 2, 1), (2, 3), (2, 3, 8)),
    ],
)
def test_messages_of_torch_correct_a_shape(
    forward: Callable[..., object], shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    shapes = [specs[0].shape for specs in corrected(failure(forward, shape), [InputSpec(shape)])]
    assert wanted in shapes
    forward(torch.zeros(wanted))


def test_the_input_that_does_not_fit_is_corrected() -> None:
    message = failure(lambda x, y: F.linear(x, torch.zeros(3, 8)) + F.linear(y, torch.zeros(3, 5)), (2, 8), (2, 9))
    better = corrected(message, [InputSpec((2, 8)), InputSpec((2, 9))])
    assert better[0] == (InputSpec((2, 8)), InputSpec((2, 5)))


def test_indices_are_integers() -> None:
    message = failure(nn.Embedding(9, 4), (2, 16))
    assert corrected(message, [InputSpec((2, 16))]) == [(InputSpec((2, 16), "int64"),)]


def test_what_says_nothing_corrects_nothing() -> None:
    assert corrected("the licence has expired", [InputSpec((2, 16))]) == []


def test_a_correction_is_tried_next_and_once() -> None:
    examples = Examples(nn.Sequential(nn.Identity(), nn.Linear(8, 4)), None, {})
    inputs = iter(examples)
    first = next(inputs)
    examples.learn(first, RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x8 and 20x4)"))
    assert (first.spec, next(inputs).spec) == ("2x8", "2x20")
    assert "2x20" not in {one.spec for one in inputs}


class Graphs(nn.Module):
    """Nodes and edges with features; gives what each edge joins."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = nn.Linear(5, 4)
        self.edges = nn.Linear(8 + 3, 2)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        h = self.nodes(x)
        joined = torch.cat([h[edge_index[0]], h[edge_index[1]], edge_attr], 1)
        assert bool((batch.diff() >= 0).all())
        assert len(batch) == len(x)
        scores: Tensor = self.edges(joined)
        return scores


class Pooled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.abs().sum(1, keepdim=True))


def test_what_is_asked_for_methods_of_tensors_is_a_tensor() -> None:
    assert {example.spec for example in Examples(Pooled(1, 1), None, {}) if "{" in str(example.spec)} == set()


class GraphsInOne(Graphs):
    def forward(self, data: Any) -> Tensor:  # type: ignore[override]
        edges = data.edge_index
        return super().forward(data.x, edges, data.edge_attr, data.batch)


@pytest.mark.parametrize("made", [Graphs, GraphsInOne])
def test_nodes_and_edges_agree_and_stay_so_when_they_are_corrected(made: type[nn.Module]) -> None:
    model = made()
    examples = Examples(model, None, {})
    for example in examples:
        try:
            model(*example.args)
        except RuntimeError as error:
            examples.learn(example, error)
        else:
            break
    assert example.spec is not None
    assert len(examples.tried) < 5
    assert example.spec.count("32x3") == 1
