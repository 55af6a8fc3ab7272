"""What is done with a parameter of a constructor."""

from __future__ import annotations

from dataclasses import dataclass, field

_NO_CONFIG = frozenset({"expansion"})
OF_STRINGS = frozenset({"lower", "upper", "split", "startswith", "endswith", "strip"})
OF_LISTS = frozenset({"append", "index", "insert", "extend", "copy"})
OF_MAPPINGS = frozenset({"get", "items", "keys", "values", "pop", "update", "setdefault"})
OF_TENSORS = frozenset({"shape", "size", "dim", "numel", "dtype", "device", "float", "to", "clone", "detach", "view"})


@dataclass(slots=True)
class Use:
    """What is done with one parameter, or with one field of it.

    ``is_called`` by the constructor, ``is_run`` by a method; ``is_tested``: it decides what is done.
    ``is_number``: it is calculated with. ``length``: one more than the largest number it is indexed with, or how many
    names it is unpacked into; ``entries`` are the names into which each of its entries is. ``attributes`` are read from
    it, ``methods`` called on it, ``optional`` read with a default at hand. ``arguments``: which argument of which
    callable it becomes, in order, as in ``("Conv2d", 0)`` or ``("Dropout", "p")``. ``texts`` are the strings it is
    compared with, ``tables`` the names of what it is looked up in.
    """

    is_read: bool = False
    is_number: bool = False
    is_sequence: bool = False
    is_called: bool = False
    is_run: bool = False
    is_tested: bool = False
    is_mapping: bool = False
    length: int = 0
    entries: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    methods: set[str] = field(default_factory=set)
    optional: set[str] = field(default_factory=set)
    arguments: dict[tuple[str, int | str], None] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    @property
    def is_configuration(self) -> bool:
        """Whether it is an object whose fields are read."""
        fields = set(self.attributes) - _NO_CONFIG - OF_TENSORS
        return bool(fields or self.optional or self.is_mapping) and not (
            self.is_called or self.is_run or self.is_sequence
        )

    @property
    def is_tensor(self) -> bool:
        """Whether it is asked what only a tensor or an array can tell."""
        return "shape" in self.attributes and set(self.attributes) <= OF_TENSORS

    @property
    def is_text(self) -> bool:
        return bool(self.texts or self.methods & OF_STRINGS)

    def add(self, other: Use) -> None:
        """Takes in what is done with the same thing elsewhere."""
        for name in ("is_read", "is_number", "is_sequence", "is_called", "is_run", "is_tested", "is_mapping"):
            setattr(self, name, getattr(self, name) or getattr(other, name))
        self.length = max(self.length, other.length)
        self.methods |= other.methods
        self.optional |= other.optional
        self.arguments |= other.arguments
        for name in ("attributes", "texts", "tables", "entries"):
            mine = getattr(self, name)
            mine += [one for one in getattr(other, name) if one not in mine]
