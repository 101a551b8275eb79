"""What the source of a class says about it, read without importing it.

Importing torch and lightning takes seconds, so options are first checked against signatures that are read from the
source files. Where a source cannot be read or followed, nothing is concluded: the class itself is checked later.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dlzoo.config import plugins

PACKAGES = ("dlzoo", "torch", "lightning", "torchmetrics")
"""The packages whose files are read, besides those of plugins."""
MAX_STEPS = 20
"""Imports to follow from a name to its definition."""

Definition = ast.ClassDef | ast.FunctionDef


class Located(NamedTuple):
    """A class or function in a source file."""

    module: Module
    node: Definition

    @property
    def name(self) -> str:
        return f"{self.module.name}.{self.node.name}"


class Arguments(NamedTuple):
    """The keyword arguments of a class or function."""

    names: frozenset[str]
    is_complete: bool
    """Whether it certainly has no others."""


@dataclass(frozen=True)
class Module:
    """A source file.

    Args:
        name: dotted.
        path: of the file.
    """

    name: str
    path: Path

    def statements(self) -> dict[str, ast.stmt]:
        """What each name at the top of the file is bound to: an import, a class, a function, a value."""
        return _statements(self.path)

    def absolute(self, statement: ast.ImportFrom) -> str:
        """The module that a ``from … import`` names."""
        if not statement.level:
            return statement.module or ""
        is_package = self.path.name == "__init__.py"
        parts = self.name.split(".")
        parts = parts[: len(parts) - statement.level + is_package]
        return ".".join([*parts, *filter(None, [statement.module])])


@cache
def _statements(path: Path) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):  # of a plugin: reported when it is imported
        return found
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                found[alias.asname or alias.name.partition(".")[0]] = statement
        elif isinstance(statement, ast.ClassDef | ast.FunctionDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            places = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found |= {place.id: statement for place in places if isinstance(place, ast.Name)}
    return found


@cache
def module(name: str) -> Module | None:
    """The source of a module; None if it has none, or is not of `PACKAGES` or a plugin."""
    root, *parts = name.split(".")
    spec = importlib.util.find_spec(root) if root in PACKAGES or root in plugins.packages() else None
    if spec is None or not spec.submodule_search_locations:
        return None
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)
    for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
        if path.is_file():
            return Module(name, path)
    return None


@cache
def find(target: str) -> Located | None:
    """Where a dotted name is defined; None if its source cannot be followed."""
    match binding(target):
        case (home, ast.ClassDef() | ast.FunctionDef() as definition):
            return Located(home, definition)
    return None


@cache
def binding(target: str) -> tuple[Module, ast.stmt] | None:
    """The statement that defines or assigns a dotted name, through imports; None if its source cannot be followed."""
    for _ in range(MAX_STEPS):
        home, _, name = target.rpartition(".")
        source = module(home)
        if source is None:
            return None
        statement = source.statements().get(name, source.statements().get("*"))
        if statement is None:
            return None
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return source, statement
        imported = _imported(source, name)
        if imported is None:
            return None
        target = imported
    return None


def _imported(source: Module, name: str) -> str | None:
    """The dotted name that an import at the top of a file binds to a name."""
    statement = source.statements().get(name, source.statements().get("*"))
    if isinstance(statement, ast.ImportFrom):
        alias = next(alias for alias in statement.names if (alias.asname or alias.name) in (name, "*"))
        if alias.name == "*":
            return f"{source.absolute(statement)}.{name}"
        return f"{source.absolute(statement)}.{alias.name}"
    if isinstance(statement, ast.Import):
        return next(a.name if a.asname else name for a in statement.names if name in (a.asname, a.name.split(".")[0]))
    return None


def resolve(source: Module, expression: ast.expr) -> str | None:
    """The dotted name of what an expression such as ``pl.Callback`` or ``Base[T]`` names in a file."""
    if isinstance(expression, ast.Subscript):
        return resolve(source, expression.value)
    if isinstance(expression, ast.Attribute):
        value = resolve(source, expression.value)
        return None if value is None else f"{value}.{expression.attr}"
    if not isinstance(expression, ast.Name):
        return None
    statement = source.statements().get(expression.id)
    if statement is not None and not isinstance(statement, ast.Import | ast.ImportFrom):
        return f"{source.name}.{expression.id}"
    return _imported(source, expression.id)


def lineage(target: str) -> Iterator[Located | None]:
    """A class and its base classes in the order in which Python looks up attributes; None in place of one whose source
    cannot be followed."""
    found: dict[str, Located | None] = {}
    for name, located in _lineage(target):
        found.pop(name, None)  # a base of several classes comes behind all of them
        found[name] = located
    yield from found.values()


def _lineage(target: str) -> Iterator[tuple[str, Located | None]]:
    """Names and classes, depth first, those with several subclasses repeatedly."""
    located = find(target)
    yield target if located is None else located.name, located
    if located is None or not isinstance(located.node, ast.ClassDef):
        return
    for base in located.node.bases:
        name = resolve(located.module, base)
        if name in ("abc.ABC", "typing.Generic", "typing.Protocol"):
            continue
        yield from _lineage(name) if name is not None else iter([(ast.unparse(base), None)])


@cache
def arguments(target: str) -> Arguments | None:
    """The keyword arguments of a class or function, including those behind ``**options``; None if unknown."""
    names: set[str] = set()
    for located in lineage(target):
        if located is None:
            return Arguments(frozenset(names), False)
        function = constructor(located.node)
        if function is None:
            continue
        signature = function.args
        names |= {a.arg for a in (*signature.args, *signature.kwonlyargs)} - {"self"}
        if signature.kwarg is None:
            return Arguments(frozenset(names), True)
    return Arguments(frozenset(names), True)


def constructor(node: Definition) -> ast.FunctionDef | None:
    """The function that takes the arguments: the class's ``__init__``, if it has one, or the function itself."""
    if isinstance(node, ast.FunctionDef):
        return node
    return next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)


def declared_classes(target: str, attribute: str) -> list[str] | None:
    """The dotted names of the classes in a class attribute, such as ``accepts = (ImageSpec, TableSpec)``; None if
    unknown."""
    for located in lineage(target):
        if located is None or not isinstance(located.node, ast.ClassDef):
            return None
        value = _attribute(located.node, attribute)
        if value is not None:
            elements = value.elts if isinstance(value, ast.Tuple) else [value]
            names = [resolve(located.module, element) for element in elements]
            found = [find(name) if name is not None else None for name in names]
            known = [item.name for item in found if item is not None]
            return known if known and len(known) == len(elements) else None
    return None


def text_attribute(target: str, attribute: str) -> str | None:
    """The text of a class attribute, such as ``what: ClassVar[str] = "images"``."""
    for located in lineage(target):
        if located is None or not isinstance(located.node, ast.ClassDef):
            return None
        value = _attribute(located.node, attribute)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None


def _attribute(node: ast.ClassDef, name: str) -> ast.expr | None:
    for item in node.body:
        places = (
            [item.target] if isinstance(item, ast.AnnAssign) else item.targets if isinstance(item, ast.Assign) else []
        )
        if isinstance(item, ast.AnnAssign | ast.Assign) and any(ast.unparse(place) == name for place in places):
            return item.value
    return None
