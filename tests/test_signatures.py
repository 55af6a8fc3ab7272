"""What a class or function takes in ``**kwargs``, and for what: that of its base, or of what it hands them on to."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from dropcheck.load.arguments import Unknown, argument_sets
from dropcheck.load.signatures import signature_of


class Base(nn.Module):
    def __init__(self, cfg: Any, kind: Any, classes: Any, rate: float = 0.0) -> None:
        super().__init__()
        assert kind in ("plain", "wide")
        self.stem = nn.Conv2d(cfg.in_channels, cfg.width, 3)
        self.head = nn.Linear(cfg.width, classes)
        self.drop = nn.Dropout(rate)


class HandsOnAll(Base):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class HandsOnSome(Base):
    def __init__(self, pretrained: bool = False, **kwargs: Any) -> None:
        super().__init__(SimpleNamespace(in_channels=3, width=8), rate=0.5, **kwargs)


class InOldStyle(Base):
    def __init__(self, cfg: Any, kind: Any) -> None:
        Base.__init__(self, cfg, kind, 10)


class Mixin:
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Mixed(Mixin, Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def wide(**kwargs: Any) -> Base:
    return Base(kind="wide", **kwargs)


@pytest.mark.parametrize(
    ("make", "takes"),
    [
        (HandsOnAll, ["args", "cfg", "kind", "classes", "rate", "kwargs"]),
        (HandsOnSome, ["pretrained", "kind", "classes", "kwargs"]),
        (InOldStyle, ["cfg", "kind"]),
        (Mixed, ["cfg", "kind", "classes", "rate", "kwargs"]),
        (wide, ["cfg", "classes", "rate", "kwargs"]),
    ],
)
def test_what_is_handed_on_can_be_given_and_is_guessed(make: Any, takes: list[str]) -> None:
    assert list(signature_of(make).parameters) == takes
    model = next(argument_sets(make, None, ())).call(make)
    assert isinstance(model, Base)
    assert model.head.out_features == 10


def test_arguments_given_by_place_are_not_given_again_by_name() -> None:
    arguments = next(argument_sets(HandsOnAll, "1, 'plain', 5", ()))
    assert arguments.args == (1, "plain", 5)
    assert arguments.kwargs == {}


def test_a_signature_without_an_open_end_is_as_it_is_written() -> None:
    assert signature_of(Base) == inspect.signature(Base)


def test_a_class_is_wanted_where_the_annotation_names_one() -> None:
    def net(part: type[Base], other: type[Base | nn.Linear]) -> None:
        """Never called."""

    every = [arguments.text for arguments in argument_sets(net, None, (HandsOnAll,))]
    assert every == ["part=Base, other=Base", "part=Base, other=Linear"]


def test_an_annotation_counts_for_more_than_a_name_and_may_leave_none() -> None:
    def net(dimensions: int, norm: str | None, depth: int) -> None:
        for _ in zip(range(depth), [depth], strict=False):
            getattr(nn, f"{norm}Norm{dimensions}d")

    assert next(argument_sets(net, None, ())).text == "dimensions=2, norm=None, depth=2"


def test_modules_that_a_class_is_made_around_are_not_guessed() -> None:
    def wrapper(model, temperature): ...  # type: ignore[no-untyped-def]

    def head(encoder: nn.Module):  # type: ignore[no-untyped-def]
        return encoder.width

    with pytest.raises(Unknown, match=r"made around modules that it is given \(model\)") as caught:
        next(argument_sets(wrapper, None, ()))
    assert (caught.value.call, caught.value.is_literal) == ("model=..., temperature=1", False)
    with pytest.raises(Unknown, match=r"made around modules that it is given \(encoder\)"):
        next(argument_sets(head, None, ()))
