"""What --data can name, how it becomes batches, and what is said of data that cannot be used."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dropcheck.capture import ExampleInput
from dropcheck.job import Feed
from dropcheck.load.data import Cut, Synthetic, name_of, open_feed, until, with_first
from dropcheck.load.failure import LoadError
from dropcheck.result import ErrorKind

X = np.arange(40, dtype=np.float64).reshape(10, 4)
Y = np.arange(10)


def saved(tmp_path: Path, name: str, write: Callable[[Path], object]) -> str:
    write(tmp_path / name)
    return str(tmp_path / name)


def batches(path: str, size: int = 4, seed: int = 0) -> list[Any]:
    return list(open_feed(Feed("x", path), size, seed))


class Masked(nn.Module):
    """A model that takes an image and a mask."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=dtype))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * mask * self.weight


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.npy", lambda file: np.save(file, X)),
        ("x.npz", lambda file: np.savez(file, X)),
        ("x.npz", lambda file: np.savez_compressed(file, inputs=X)),
        ("x.npy", lambda file: np.save(file, X.astype(">f4"))),
        ("x.pt", lambda file: torch.save(torch.from_numpy(X), file)),
        ("x.pt", lambda file: torch.save([torch.from_numpy(X)], file)),
    ],
)
def test_a_file_of_one_array_is_cut_into_batches(name: str, write: Callable[[Path], object], tmp_path: Path) -> None:
    found = batches(saved(tmp_path, name, write))
    assert [[tuple(one.shape) for one in batch] for batch in found] == [[(4, 4)], [(4, 4)]]
    rows = {tuple(row) for batch in found for row in batch[0].tolist()}
    assert len(rows) == 8
    assert rows <= {tuple(row) for row in X.tolist()}


def test_floats_become_the_models_and_integers_stay(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.npz", lambda file: np.savez(file, a=X, b=Y))
    assert [one.dtype for one in batches(path)[0]] == [torch.float32, torch.int64]
    data = open_feed(Feed("x", path), 4, 0)
    assert isinstance(data, Cut)
    suited = next(iter(data.suited(Masked(torch.float16))))
    assert [one.dtype for one in suited] == [torch.float16, torch.int64]


def test_samples_are_drawn_in_an_order_that_the_seed_settles(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.npy", lambda file: np.save(file, Y))
    orders = [torch.cat([one for (one,) in batches(path, seed=seed)]).tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_arrays_of_one_file_stay_together(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.npz", lambda file: np.savez(file, a=X, b=Y))
    for a, b in batches(path):
        assert (a[:, 0] == 4 * b).all()


def test_arrays_named_like_inputs_are_passed_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.npz", lambda file: np.savez(file, mask=Y, image=X))
    data = open_feed(Feed("x", path), 4, 0)
    assert isinstance(data, Cut)
    assert set(next(iter(data.suited(Masked())))) == {"image", "mask"}


def test_labels_come_last(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.npz", lambda file: np.savez(file, label=Y, image=X))
    assert [tuple(one.shape) for one in batches(path)[0]] == [(4, 4), (4,)]


def test_fewer_samples_than_a_batch_are_one_batch(tmp_path: Path) -> None:
    path = saved(tmp_path, "x.npy", lambda file: np.save(file, X))
    assert [len(batch[0]) for batch in batches(path, size=64)] == [10]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run by unpickling",))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.npy", lambda file: np.save(file, np.array([Evil()], dtype=object)), "holds Python objects, and unpickling"),
        ("x.pt", lambda file: torch.save(Evil(), file), "holds Python objects, and unpickling them would run code"),
        ("x.npz", lambda file: file.write_bytes(pickle.dumps(Evil())), "holds Python objects, and unpickling them wo"),
        ("x.npy", lambda file: np.save(file, np.array(["a", "b"])), "holds values of dtype <U1, expected numbers"),
        ("x.npz", lambda file: np.savez(file, a=X, b=Y[:3]), "holds arrays of different lengths (a: 10x4, b: 3)"),
        ("x.npy", lambda file: np.save(file, np.float32(1.0)), "holds arrays of different lengths (a scalar)"),
        ("x.npy", lambda file: np.save(file, X[:0]), "is empty (0x4)"),
        ("x.npz", lambda file: np.savez(file), "holds an empty dict, expected a tensor"),
        ("x.pt", lambda file: torch.save({"x": "text"}, file), "holds a dict with a str as 'x', expected a tensor"),
        ("x.pt", lambda file: torch.save(3, file), "holds an int, expected a tensor"),
        ("x.npz", lambda file: file.write_bytes(b"PK\3\4 and then nothing"), "is damaged, or no file of arrays"),
        ("x.npy", lambda file: file.write_bytes(b""), "is damaged, or no file of arrays"),
        ("x.pt", lambda file: torch.save(torch.eye(3).to_sparse(), file), "holds sparse or quantized tensors: 0"),
    ],
)
def test_other_files_are_refused(
    name: str, write: Callable[[Path], object], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, name, write)
    with pytest.raises(LoadError) as refused:
        batches(path)
    assert message in refused.value.message
    assert refused.value.hint
    assert "run by" not in capfd.readouterr().out


def test_a_missing_file_is_wrong_usage() -> None:
    with pytest.raises(LoadError, match=r"there is no file gone\.npz") as refused:
        batches("gone.npz")
    assert refused.value.kind is ErrorKind.CONFIG


SOURCE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

x, y = torch.arange(20.0).reshape(10, 2), torch.arange(10)
loader = DataLoader(TensorDataset(x, y), batch_size=5)

def make(size=2): return DataLoader(TensorDataset(x, y), batch_size=size)
def dataset(): return TensorDataset(x, y)
def tensors(): return x, y
def generated(): yield x; yield x
def several(): return [(x, y), (x, y)]
def nothing(): pass
def number(): return 3
def empty(): return TensorDataset(x[:0])
def broken(): raise OSError("no such disk")
def greedy(folder): return x
"""


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What a symbol of the file above gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["dropcheck"])
    (tmp_path / "feed.py").write_text(SOURCE)

    def give(symbol: str, call: str | None = None, size: int | None = None) -> Any:
        monkeypatch.delitem(sys.modules, "feed", raising=False)
        feed = Feed("feed.py", path=str(tmp_path / "feed.py"), symbol=symbol, call=call)
        assert name_of(feed) == f"feed.py:{symbol}" + ("" if call is None else f"({call})")
        return open_feed(feed, size, 0)

    return give


@pytest.mark.parametrize(
    ("symbol", "call", "size", "sizes"),
    [
        ("loader", None, None, [5, 5]),
        ("make", None, None, [2, 2, 2, 2, 2]),
        ("make", "size=10", None, [10]),
        ("dataset", None, 3, [3, 3, 3]),
        ("tensors", None, 4, [4, 4]),
        ("generated", None, None, [10, 10]),
        ("several", None, None, [10, 10]),
    ],
)
def test_a_callable_gives_batches(
    named: Callable[..., Any], symbol: str, call: str | None, size: int | None, sizes: list[int]
) -> None:
    assert [len(batch if isinstance(batch, Tensor) else batch[0]) for batch in named(symbol, call, size)] == sizes


def test_a_loader_stays_one(named: Callable[..., Any]) -> None:
    assert isinstance(named("make"), DataLoader)


@pytest.mark.parametrize(
    ("symbol", "call", "size", "message"),
    [
        ("lader", None, None, "--data: feed.py has no 'lader'"),
        ("nothing", None, None, "--data: feed.py:nothing gives nothing (None), no batches"),
        ("number", None, None, "--data: feed.py:number gives an int, no batches"),
        ("empty", None, None, "--data: feed.py:empty is empty"),
        ("broken", None, None, "--data: calling feed.py:broken failed: OSError: no such disk (feed.py, line 16)"),
        ("greedy", None, None, "--data: calling feed.py:greedy failed: TypeError: greedy() missing 1 required"),
        ("make", "size=0", None, "--data: calling feed.py:make(size=0) failed: ValueError: batch_size"),
        ("loader", None, 3, "gives batches of its own, so --batch-size cannot be obeyed"),
    ],
)
def test_what_callables_do_is_told(
    named: Callable[..., Any], symbol: str, call: str | None, size: int | None, message: str
) -> None:
    with pytest.raises(LoadError) as refused:
        named(symbol, call, size)
    assert message in refused.value.message
    assert refused.value.hint


def test_synthetic_batches_are_smooth_and_the_same_in_every_run() -> None:
    example = ExampleInput((torch.zeros(2, 3, 16, 16), torch.tensor([[1, 5], [2, 3]])))
    before = torch.get_rng_state()
    runs = [[batch for _, batch in zip(range(2), Synthetic(example, 8), strict=False)] for _ in range(2)]
    assert (torch.get_rng_state() == before).all()
    (image, tokens), (other, _) = runs[0]
    assert (image.shape, tokens.shape, tokens.dtype) == ((8, 3, 16, 16), (8, 2), torch.int64)
    assert (image == runs[1][0][0]).all()
    assert not (image == other).all()
    neighbours = torch.corrcoef(torch.stack([image[..., 1:].flatten(), image[..., :-1].flatten()]))[0, 1]
    assert neighbours > 0.5


def test_looking_at_the_first_batch_uses_up_nothing() -> None:
    for batches in ([1, 2, 3], iter([1, 2, 3]), (number for number in (1, 2, 3))):
        first, whole = with_first("data", batches)
        assert (first, list(whole)) == (1, [1, 2, 3])
    assert with_first("data", [])[0] is None


def test_a_first_batch_that_fails_is_told() -> None:
    def failing() -> Iterator[int]:
        raise OSError("no such disk")
        yield 1

    with pytest.raises(LoadError, match="--data: feed fails at its first batch: OSError: no such disk"):
        with_first("feed", failing())


@pytest.mark.parametrize("make", [list, iter, lambda numbers: DataLoader(numbers, batch_size=None)])
def test_no_batch_comes_once_it_is_stopped(make: Callable[[list[int]], Any]) -> None:
    given, stop, seen = make([1, 2, 3]), Event(), []
    batches = until(given, stop)
    assert hasattr(batches, "__len__") == hasattr(given, "__len__")
    assert getattr(batches, "sampler", None) is getattr(given, "sampler", None)
    for batch in batches:
        seen.append(int(batch))
        if len(seen) == 2:
            stop.set()
    assert seen == [1, 2]
