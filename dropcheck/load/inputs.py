"""Example inputs for a model's forward, the likeliest first."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from dropcheck.capture import ExampleInput
from dropcheck.load.corrections import corrected
from dropcheck.load.entries import entry, fields_read
from dropcheck.load.failure import LoadError
from dropcheck.load.shapes import first_shapes, shape_for
from dropcheck.result import ErrorKind
from dropcheck.source import InputSpec, parse_input

MOST_TRIES = 28
_MOST_CORRECTIONS = 5
_MOST_CORRECTED = 3
MOST_SECONDS = 6.0
"""After so long no further input is tried: a model that none of the likely ones suits hardly takes an unlikely one."""

_DECLARED = ("example_input_array", "dummy_inputs", "input_size", "default_cfg", "pretrained_cfg")

# What forward's further arguments are called, and the tensor they want beside a batch of 2 sequences of 16.
_FURTHER: Mapping[str, InputSpec] = {
    **dict.fromkeys(("mask", "attention_mask", "attn_mask", "src_mask"), InputSpec((2, 16), "bool")),
    **dict.fromkeys(("t", "time", "timestep", "timesteps", "step", "steps", "sigma", "noise_level"), InputSpec((2,))),
    **dict.fromkeys(("lengths", "length", "lens", "input_lengths", "labels", "label"), InputSpec((2,), "int64")),
    **dict.fromkeys(("token_type_ids", "position_ids", "segment_ids"), InputSpec((2, 16), "int64")),
    "edge_index": InputSpec((2, 16), "int64"),
}


class Examples:
    """The inputs to try on ``model``: the one given as an input spec, else at most MOST_TRIES inferred ones.

    ``hints`` are constructor arguments by name, defaults included. What is learnt from an input that failed is tried
    next. Iterating raises LoadError where forward does not take as many inputs as are given.
    """

    def __init__(self, model: nn.Module, given: str | None, hints: Mapping[str, Any]) -> None:
        self.model, self.given, self.hints = model, given, hints
        self.corrections: list[ExampleInput] = []
        self.tried: set[str | None] = set()

    def __iter__(self) -> Iterator[ExampleInput]:
        if self.given is not None:
            yield _given(self.model, self.given)
            return
        started = time.monotonic()
        inferred = chain(_declared(self.model), _guessed(self.model, self.hints))
        while len(self.tried) < MOST_TRIES and time.monotonic() - started < MOST_SECONDS:
            example = self.corrections.pop(0) if self.corrections else next(inferred, None)
            if example is None:
                return
            if example.spec not in self.tried:
                self.tried.add(example.spec)
                yield example

    def learn(self, example: ExampleInput, error: Exception) -> None:
        """Takes in why forward did not run on an example."""
        tensors = [one for one in example.args if isinstance(one, Tensor)]
        if self.given is not None or example.kwargs or len(tensors) > _MOST_CORRECTED:
            return
        limit = _vocabulary(self.model)
        better = []
        for specs in corrected(str(error), [_spec(one) for one in tensors])[:_MOST_CORRECTIONS]:
            replaced = iter([tensor(spec, limit) for spec in specs])
            args = tuple(next(replaced) if isinstance(one, Tensor) else one for one in example.args)
            shown = [str(_spec(one)) if isinstance(one, Tensor) else repr(one) for one in args]
            better.append(ExampleInput(args, spec=",".join(shown)))
        self.corrections = [*better, *self.corrections]


def example_inputs(model: nn.Module, given: str | None, hints: Mapping[str, Any]) -> Iterator[ExampleInput]:
    """The inputs of :class:`Examples`, for those who do not tell how they fared."""
    return iter(Examples(model, given, hints))


def tensor(spec: InputSpec, limit: int = 10) -> Tensor:
    """A tensor of small values: normal floats, integers from 0 to ``limit`` - 1, True."""
    dtype = getattr(torch, spec.dtype)
    if dtype is torch.bool:
        return torch.ones(spec.shape, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(spec.shape, generator=generator).to(dtype)
    return torch.randint(0, max(1, limit), spec.shape, generator=generator).to(dtype)


def _given(model: nn.Module, text: str) -> ExampleInput:
    specs = parse_input(text)
    signature = inspect.signature(model.forward)
    try:
        signature.bind(*specs)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise LoadError(
            ErrorKind.CAPTURE,
            f"--input gives {len(specs)} input{'' if len(specs) == 1 else 's'}, forward takes ({takes}): {error}",
            "separate the inputs by commas, as in --input 2x3x32x32,2x16:int64",
        ) from error
    return _example(model, specs, given=True)


def _example(model: nn.Module, specs: tuple[InputSpec, ...], *, given: bool = False) -> ExampleInput:
    limit = _vocabulary(model)
    arguments = tuple(tensor(spec, limit) for spec in specs)
    return ExampleInput(arguments, spec=",".join(map(str, specs)), given=given)


def _vocabulary(model: nn.Module) -> int:
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag))
    return min((table.num_embeddings for table in tables), default=10)


def _declared(model: nn.Module) -> Iterator[ExampleInput]:
    """What the model itself says about its input, in the ways of Lightning, transformers and timm."""
    for name in _DECLARED:
        value: Any = None
        with suppress(Exception):  # a property may compute it, from what is not there
            value = getattr(model, name, None)
        if name.endswith("_cfg"):
            value = value.get("input_size") if isinstance(value, Mapping) else getattr(value, "input_size", None)
        sizes = value if isinstance(value, tuple | list) and all(type(size) is int for size in value) else None
        if sizes:
            yield _example(model, (InputSpec((2, *sizes)),))
        elif isinstance(value, Tensor):
            yield _said((value,), {})
        elif isinstance(value, Mapping) and value and all(isinstance(one, Tensor) for one in value.values()):
            yield _said((), value)
        elif isinstance(value, tuple | list) and value and all(isinstance(one, Tensor) for one in value):
            yield _said(tuple(value), {})


def _said(args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> ExampleInput:
    specs = [_spec(one) for one in (*args, *kwargs.values())]
    return ExampleInput(
        tuple(map(_real, args)), {name: _real(one) for name, one in kwargs.items()}, ",".join(map(str, specs))
    )


def _spec(value: Tensor) -> InputSpec:
    return InputSpec(tuple(value.shape), str(value.dtype).removeprefix("torch."))


def _real(value: Tensor) -> Tensor:
    return tensor(_spec(value)) if value.is_meta else value


def _guessed(model: nn.Module, hints: Mapping[str, Any]) -> Iterator[ExampleInput]:
    floating = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    dtype = str(floating).removeprefix("torch.")
    leading, *further = _required(model) or [None]
    if leading is not None:
        yield from _structured(model, leading, hints)
    met = None if leading is None else entry(model, leading.name)
    for spec in first_shapes(model, hints, met):
        first = spec if spec.dtype != "float32" else InputSpec(spec.shape, dtype)
        yield _with_further(model, first, [one for one in further if one is not None], hints)


def _required(model: nn.Module) -> list[inspect.Parameter | None]:
    parameters = inspect.signature(model.forward).parameters.values()
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one for one in parameters if one.default is inspect.Parameter.empty and one.kind in wanted]


def _structured(model: nn.Module, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Iterator[ExampleInput]:
    """Dicts, or objects with fields, of tensors that suit the layers they go to; none where forward takes a tensor."""
    use, fields = fields_read(model, parameter.name)
    if not use.is_configuration or not fields:
        return
    limit = _vocabulary(model)
    specs = {name: _FURTHER.get(name) or _of_entry(model, layer, hints) for name, layer in fields.items()}
    usual = next((spec for spec in specs.values() if spec is not None), InputSpec((2, 16)))
    for each in (None, 1):  # sequences of ids, or one id for each sample
        shapes = {name: spec or usual for name, spec in specs.items()}
        if each is not None:
            shapes = {name: _one_each(spec) if name not in _FURTHER else spec for name, spec in shapes.items()}
        values = {name: tensor(spec, 2 if name == "edge_index" else limit) for name, spec in shapes.items()}
        shown = ", ".join(f"{name}={_spec(value)}" for name, value in values.items())
        value: Any = values if use.is_mapping else SimpleNamespace(**values)
        yield ExampleInput((value,), spec=f"{{{shown}}}")


def _one_each(spec: InputSpec) -> InputSpec:
    return InputSpec(spec.shape[:1], spec.dtype) if spec.dtype == "int64" else spec


def _of_entry(model: nn.Module, layer: nn.Module | None, hints: Mapping[str, Any]) -> InputSpec | None:
    return None if layer is None else shape_for(layer, model, hints)


def _with_further(
    model: nn.Module, first: InputSpec, further: list[inspect.Parameter], hints: Mapping[str, Any]
) -> ExampleInput:
    limit = _vocabulary(model)
    arguments: list[Any] = [tensor(first, limit)]
    shown = [str(first)]
    for parameter in further:
        number = {"int": 1, "float": 1.0, "bool": False}.get(_annotation(parameter))
        spec = _FURTHER.get(parameter.name) or _of_entry(model, entry(model, parameter.name), hints) or first
        if spec.dtype == "float32" and getattr(torch, first.dtype).is_floating_point:
            spec = InputSpec(spec.shape, first.dtype)
        spec = first if spec.dtype == first.dtype == "int64" and parameter.name not in _FURTHER else spec
        value = torch.full(spec.shape, first.shape[-1]) if "len" in parameter.name else tensor(spec, limit)
        arguments.append(value if number is None else number)
        shown.append(str(spec) if number is None else repr(number))
    return ExampleInput(tuple(arguments), spec=",".join(shown))


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
