"""Frozen dataclasses as JSON data and back: how the main process and its worker talk.

A dataclass becomes an object of its fields, those at their default left out; a member of a union of dataclasses (an
operation) becomes ``{"Weight": {...}}``; a graph becomes the list of its nodes; tuples become lists, mappings from
strings objects and enumerations their values. Decoding follows the declared types, so a new operation or field needs
nothing here.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from dropcheck.graph import Graph, Node

Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]
T = TypeVar("T")
Reader = Callable[[Any], Any]


def encode(value: object) -> Data:
    """JSON data for a dataclass of :mod:`dropcheck.job` (or anything made of the same parts).

    Raises:
        TypeError: something in it has no JSON form.
    """
    kind: Any = type(value)
    return _writer(kind)(value)


def decode(kind: type[T], data: object) -> T:
    """The ``kind`` that :func:`encode` made ``data`` from.

    Raises:
        ValueError: the data do not fit; the message names the place (``Outcome: models: … node 'conv1': op: …``).
    """
    return cast(T, _reader(cast(Any, kind))(data))


@cache
def _writer(kind: Any) -> Callable[[Any], Data]:
    if issubclass(kind, Enum):
        return lambda value: cast(Data, value.value)
    if kind in (str, int, float, bool, types.NoneType):
        return _plain
    if kind in (tuple, list):
        return lambda values: [encode(value) for value in values]
    if kind is dict:
        return lambda values: {name: encode(value) for name, value in values.items()}
    if kind is Graph:
        return lambda graph: [encode(node) for node in graph.nodes]
    if is_dataclass(kind):
        return _record_writer(kind)
    raise TypeError(f"{kind.__qualname__} has no JSON form")


def _plain(value: Any) -> Data:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} has no JSON form")
    return cast(Data, value)


def _record_writer(kind: Any) -> Callable[[Any], Data]:
    hints = get_type_hints(kind)
    columns = [(field.name, field.default, _tagged(hints[field.name])) for field in fields(kind)]

    def write(record: Any) -> Data:
        data: dict[str, Data] = {}
        for name, default, tagged in columns:
            value = getattr(record, name)
            if value is not default and value != default:
                data[name] = {type(value).__name__: encode(value)} if tagged else encode(value)
        return data

    return write


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; a type that is none is its only member."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _tagged(hint: Any) -> bool:
    """Whether values of this type need their class's name beside them: several dataclasses are possible."""
    return sum(is_dataclass(member) for member in _alternatives(hint)) > 1


@cache
def _reader(hint: Any) -> Reader:
    members = _alternatives(hint)
    if _tagged(hint):
        return _union_reader({member.__name__: _reader(member) for member in members})
    if len(members) > 1:
        return _optional_reader(*(member for member in members if member is not types.NoneType))
    if get_origin(hint) is tuple:
        return _tuple_reader(get_args(hint)[0])
    if get_origin(hint) is Mapping:
        return _mapping_reader(get_args(hint)[1])
    if get_origin(hint) is Literal:
        return _choice_reader({value: value for value in get_args(hint)})
    if hint is Graph:
        return lambda data: Graph(_reader(tuple[Node, ...])(data))
    if is_dataclass(hint):
        return _record_reader(cast(type, hint))
    if issubclass(hint, Enum):
        return _choice_reader({member.value: member for member in hint})
    return _read_number if hint is float else _plain_reader(hint)


def _union_reader(readers: dict[str, Reader]) -> Reader:
    def read(data: Any) -> Any:
        if not isinstance(data, dict) or len(data) != 1:
            raise _mismatch("an object with one key", data)
        ((name, body),) = data.items()
        if name not in readers:
            raise ValueError(f"unknown kind {name!r}")
        return readers[name](body)

    return read


def _optional_reader(hint: Any) -> Reader:
    reader = _reader(hint)
    return lambda data: None if data is None else reader(data)


def _tuple_reader(item: Any) -> Reader:
    reader = _reader(item)

    def read(data: Any) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise _mismatch("a list", data)
        return tuple(reader(value) for value in data)

    return read


def _mapping_reader(item: Any) -> Reader:
    reader = _reader(item)

    def read(data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise _mismatch("an object", data)
        return {name: reader(value) for name, value in data.items()}

    return read


def _choice_reader(choices: dict[Any, Any]) -> Reader:
    def read(data: Any) -> Any:
        if not isinstance(data, str) or data not in choices:
            raise _mismatch("one of " + ", ".join(map(repr, choices)), data)
        return choices[data]

    return read


def _plain_reader(kind: type) -> Reader:
    def read(data: Any) -> Any:
        if type(data) is not kind:
            raise _mismatch(f"a value of type {kind.__name__}", data)
        return data

    return read


def _read_number(data: Any) -> float:
    if type(data) not in (int, float) or not abs(data) <= sys.float_info.max:
        raise _mismatch("a finite number", data)
    return float(data)


def _record_reader(kind: type) -> Reader:
    hints = get_type_hints(kind)
    columns: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}
    readers = {name: _reader(hints[name]) for name in columns}
    required = [name for name, field in columns.items() if field.default is MISSING]

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _mismatch(f"an object for {kind.__name__}", data)
        where = f"node {data.get('name')!r}" if kind is Node else kind.__name__
        for name in [*(name for name in required if name not in data), *(name for name in data if name not in columns)]:
            raise ValueError(f"{where}: {'unknown' if name in data else 'missing'} field {name!r}")
        values = {}
        for name, value in data.items():
            try:
                values[name] = readers[name](value)
            except ValueError as error:
                raise ValueError(f"{where}: {name}: {error}") from error
        return kind(**values)

    return read


def _mismatch(expected: str, data: object) -> ValueError:
    return ValueError(f"expected {expected}, got {data!r:.80}")
