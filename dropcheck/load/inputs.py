"""Example inputs for a model's forward, the likeliest first."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Iterator, Mapping
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
from dropcheck.load.graph_inputs import graphs, is_graph
from dropcheck.load.shapes import first_shapes, shape_for
from dropcheck.load.signatures import own_signature
from dropcheck.load.tensors import spec_of, tensor
from dropcheck.result import ErrorKind
from dropcheck.source import InputSpec, parse_input

MOST_TRIES = 28
_MOST_CORRECTIONS = 5
_MOST_CORRECTED = 6
MOST_SECONDS = 6.0
"""After so long no further input is tried: a model that none of the likely ones suits hardly takes an unlikely one."""

_DECLARED = ("example_input_array", "dummy_inputs", "input_size", "default_cfg", "pretrained_cfg")

# What forward's further arguments are called, and the tensor they want beside a batch of 2 sequences of 16.
_FURTHER: Mapping[str, InputSpec] = {
    **dict.fromkeys(("mask", "attention_mask", "attn_mask", "src_mask"), InputSpec((2, 16), "bool")),
    **dict.fromkeys(("t", "time", "timestep", "timesteps", "step", "steps", "sigma", "noise_level"), InputSpec((2,))),
    **dict.fromkeys(("lengths", "length", "lens", "input_lengths", "labels", "label"), InputSpec((2,), "int64")),
    **dict.fromkeys(("token_type_ids", "position_ids", "segment_ids"), InputSpec((2, 16), "int64")),
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
        tensors = list(_tensors(example.args))
        if self.given is not None or example.kwargs or len(tensors) > _MOST_CORRECTED:
            return
        limit = _vocabulary(self.model)
        better = []
        for specs in corrected(str(error), [spec_of(one) for one in tensors])[:_MOST_CORRECTIONS]:
            pairs = zip(tensors, specs, strict=True)
            replaced = iter([one if spec_of(one) == spec else tensor(spec, limit) for one, spec in pairs])
            args = tuple(_replaced(one, replaced) for one in example.args)
            better.append(ExampleInput(args, spec=",".join(map(_shown, args))))
        self.corrections = [*better, *self.corrections]


def example_inputs(model: nn.Module, given: str | None, hints: Mapping[str, Any]) -> Iterator[ExampleInput]:
    """The inputs of :class:`Examples`, for those who do not tell how they fared."""
    return iter(Examples(model, given, hints))


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among inputs, and in those that are mappings or objects."""
    for one in values:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, dict | SimpleNamespace):
            yield from _tensors(one.values() if isinstance(one, dict) else vars(one).values())


def _replaced(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same input with other tensors."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, dict | SimpleNamespace):
        fields = value if isinstance(value, dict) else vars(value)
        changed = {name: _replaced(one, tensors) for name, one in fields.items()}
        return changed if isinstance(value, dict) else SimpleNamespace(**changed)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, dict | SimpleNamespace):
        fields = value if isinstance(value, dict) else vars(value)
        return f"{{{', '.join(f'{name}={_shown(one)}' for name, one in fields.items())}}}"
    return str(spec_of(value)) if isinstance(value, Tensor) else repr(value)


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
    specs = [spec_of(one) for one in (*args, *kwargs.values())]
    return ExampleInput(
        tuple(map(_real, args)), {name: _real(one) for name, one in kwargs.items()}, ",".join(map(str, specs))
    )


def _real(value: Tensor) -> Tensor:
    return tensor(spec_of(value)) if value.is_meta else value


def _guessed(model: nn.Module, hints: Mapping[str, Any]) -> Iterator[ExampleInput]:
    floating = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    dtype = str(floating).removeprefix("torch.")
    leading, *further = _required(model) or [None]
    if leading is not None:
        yield from _structured(model, leading, hints)
    names = [one.name for one in (leading, *further) if one is not None]
    if is_graph(names):
        layers = {name: _of_entry(model, entry(model, name), hints) for name in names}
        for values in graphs(layers, first_shapes(model, hints), hints, _vocabulary(model)):
            yield ExampleInput(tuple(values.values()), spec=",".join(map(_shown, values.values())))
    met = None if leading is None else entry(model, leading.name)
    for spec in first_shapes(model, hints, met):
        first = spec if spec.dtype != "float32" else InputSpec(spec.shape, dtype)
        yield _with_further(model, first, [one for one in further if one is not None], hints)


def _required(model: nn.Module) -> list[inspect.Parameter | None]:
    parameters = own_signature(model.forward).parameters.values()
    wanted = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one for one in parameters if one.default is inspect.Parameter.empty and one.kind in wanted]


def _structured(model: nn.Module, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Iterator[ExampleInput]:
    """Dicts, or objects with fields, of tensors that suit the layers they go to; none where forward takes a tensor."""
    use, fields = fields_read(model, parameter.name)
    if not use.is_configuration or not fields:
        return
    limit = _vocabulary(model)
    if is_graph(fields):
        layers = {name: _of_entry(model, layer, hints) for name, layer in fields.items()}
        for values in graphs(layers, first_shapes(model, hints), hints, limit):
            graph: Any = values if use.is_mapping else SimpleNamespace(**values)
            yield ExampleInput((graph,), spec=_shown(graph))
        return
    specs = {name: _FURTHER.get(name) or _of_entry(model, layer, hints) for name, layer in fields.items()}
    usual = next((spec for spec in specs.values() if spec is not None), InputSpec((2, 16)))
    for each in (None, 1):  # sequences of ids, or one id for each sample
        shapes = {name: spec or usual for name, spec in specs.items()}
        if each is not None:
            shapes = {name: _one_each(spec) if name not in _FURTHER else spec for name, spec in shapes.items()}
        made = {name: tensor(spec, limit) for name, spec in shapes.items()}
        value: Any = made if use.is_mapping else SimpleNamespace(**made)
        yield ExampleInput((value,), spec=_shown(value))


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
