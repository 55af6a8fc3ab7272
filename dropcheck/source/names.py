"""What the names at the top level of a file stand for, as far as its text says."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

_FOREIGN = (
    *("PIL", "absl", "attr", "attrs", "bs4", "click", "cv2", "django", "fastapi", "flask", "h5py", "hypothesis"),
    *(
        "joblib",
        "jsonschema",
        "matplotlib",
        "networkx",
        "nox",
        "numba",
        "numpy",
        "packaging",
        "pandas",
        "pkg_resources",
    ),
    *("plotly", "polars", "psutil", "pydantic", "pytest", "requests", "rich", "scipy", "seaborn", "setuptools"),
    *("skimage", "sklearn", "sqlalchemy", "sympy", "tensorflow", "tqdm", "typer", "typing_extensions", "yaml"),
)
WITHOUT_MODELS = frozenset(sys.stdlib_module_names) | frozenset(_FOREIGN)
"""Top-level packages in which nothing is an nn.Module."""

_BUILTINS = frozenset(dir(builtins))


@dataclass(slots=True)
class Names:
    """The definitions that run when a file is imported, by name; of several with one name the last counts.

    ``imported`` maps a name to the dotted thing it was imported as (relative imports keep their dots).
    """

    imported: dict[str, str] = field(default_factory=dict)
    defined: dict[str, ast.stmt] = field(default_factory=dict)

    def origin(self, expression: ast.expr) -> str | None:
        """The dotted thing an expression names: ``torch.nn.Module`` for ``nn.Module``.

        ``:Net`` for a name this file defines, ``builtins.int`` for a builtin, ``?.Net`` for what no line explains, None
        for what is no name at all.
        """
        attributes: list[str] = []
        while isinstance(expression, ast.Attribute):
            attributes.append(expression.attr)
            expression = expression.value
        if not isinstance(expression, ast.Name):
            return None
        return ".".join([self._meaning(expression.id), *reversed(attributes)])

    def _meaning(self, name: str) -> str:
        if name in self.defined:
            return f":{name}"
        if name in self.imported:
            return self.imported[name]
        return f"builtins.{name}" if name in _BUILTINS else f"?.{name}"

    def local(self, origin: str) -> str | None:
        """The name defined in this file that ``origin`` is or belongs to, None for what comes from elsewhere."""
        return origin[1:].partition(".")[0] if origin.startswith(":") else None


def names_of(tree: ast.Module) -> Names:
    """The names a module's top level binds, those in ``if``, ``try``, ``with`` and loops included."""
    names = Names()
    for statement in executed(tree.body):
        match statement:
            case ast.Import():
                for alias in statement.names:
                    top = alias.name.partition(".")[0]
                    _bind(names, alias.asname or top, imported=alias.name if alias.asname else top)
            case ast.ImportFrom():
                _bind_from(names, statement)
            case ast.ClassDef() | ast.FunctionDef():
                _bind(names, statement.name, defined=statement)
            case ast.Assign():
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        _bind(names, target.id, defined=statement)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                _bind(names, name, defined=statement)
    return names


def executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing a file may run; what stands under ``if __name__ == "__main__"`` is not."""
    for statement in body:
        if isinstance(statement, ast.If) and _is_main_guard(statement.test):
            yield from executed(statement.orelse)
            continue
        yield statement
        if isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.TryStar):
            for block in ("body", "orelse", "finalbody"):
                yield from executed(getattr(statement, block, []))
            for handler in getattr(statement, "handlers", []):
                yield from executed(handler.body)


def _is_main_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and ast.unparse(test) in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    )


def _bind(names: Names, name: str, *, imported: str | None = None, defined: ast.stmt | None = None) -> None:
    names.imported.pop(name, None)
    names.defined.pop(name, None)
    if imported is not None:
        names.imported[name] = imported
    elif defined is not None:
        names.defined[name] = defined


def _bind_from(names: Names, statement: ast.ImportFrom) -> None:
    module = "." * statement.level + (statement.module or "")
    for alias in statement.names:
        if alias.name != "*":
            joined = module if module.endswith(".") else f"{module}."
            _bind(names, alias.asname or alias.name, imported=f"{joined}{alias.name}")
