"""What the code of a module's class says, without running it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType


@lru_cache(maxsize=4096)
def names_in(cls: type) -> frozenset[str]:
    """Every attribute, method and global that the methods of ``cls`` name, constructors and torch's own left out."""
    methods = (
        method
        for base in cls.__mro__
        if not base.__module__.startswith("torch.")
        for name, method in vars(base).items()
        if name != "__init__" and isinstance(method, FunctionType)
    )
    return frozenset(name for method in methods for name in names_of(method.__code__))


def names_of(code: CodeType) -> Iterator[str]:
    """The names in a function, and in those defined inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_of(constant)


_OLD_CONSTRUCTORS = frozenset(f"{kind}Tensor" for kind in ("", "Bool", "Byte", "Double", "Float", "Int", "Long"))
_UNSEEN_CONSTRUCTORS = _OLD_CONSTRUCTORS | {"from_numpy", "frombuffer"}


@lru_cache(maxsize=4096)
def names_constructors(code: CodeType | None) -> bool:
    """Whether a function may make tensors in a way that no mode sees: ``torch.FloatTensor``, ``torch.from_numpy``."""
    names = set() if code is None else set(names_of(code))
    return not names.isdisjoint(_UNSEEN_CONSTRUCTORS - {"Tensor"} if "isinstance" in names else _UNSEEN_CONSTRUCTORS)
