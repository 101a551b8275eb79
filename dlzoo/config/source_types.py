"""The types in annotations, and docstrings, read from source files without importing them.

Plain types, such as ``Sequence[int] | Literal["auto"]``, are those that the annotations themselves have; a class of
dlzoo, PyTorch or Lightning is represented by an empty class of its name.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, Union

from dlzoo.config import source
from dlzoo.config.source import Located, Module

UNKNOWN = inspect.Parameter.empty
"""In place of a type that cannot be followed, or of no annotation."""
STANDARD_MODULES = ("typing", "typing_extensions", "collections", "os", "pathlib", "datetime")
"""The modules whose types are imported, since they take no time."""


def evaluate(home: Module, annotation: ast.expr | None) -> Any:
    """The type that an annotation in a file stands for; `UNKNOWN` if any of its names cannot be followed."""
    try:
        return UNKNOWN if annotation is None else _evaluate(home, annotation)
    except (_Unfollowed, TypeError, SyntaxError):
        return UNKNOWN


class _Unfollowed(Exception):
    """A name in an annotation whose meaning is not known."""


def _evaluate(home: Module, node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=str(text)):  # in quotes
            return _evaluate(home, ast.parse(text, mode="eval").body)
        case ast.Constant(value=value):
            return value
        case ast.BinOp(op=ast.BitOr()):
            return Union[_evaluate(home, node.left), _evaluate(home, node.right)]  # noqa: UP007
        case ast.List():
            return [_evaluate(home, item) for item in node.elts]
        case ast.Subscript():
            return _subscripted(home, node)
        case ast.Name(id=name) if name not in home.statements() and hasattr(builtins, name):
            return getattr(builtins, name)
        case ast.Name() | ast.Attribute():
            dotted = source.resolve(home, node)
            if dotted is not None:
                return _named(dotted)
    raise _Unfollowed


def _subscripted(home: Module, node: ast.Subscript) -> Any:
    origin = _evaluate(home, node.value)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if origin is Literal:
        return Literal[tuple(_choice(home, item) for item in items)]
    if isinstance(origin, _Placeholder):
        return origin
    arguments = tuple(_evaluate(home, item) for item in items)
    return origin[arguments if len(arguments) > 1 else arguments[0]]


def _choice(home: Module, node: ast.expr) -> Any:
    """An argument of ``Literal``: a value, or another such type."""
    return node.value if isinstance(node, ast.Constant) else _evaluate(home, node)


@cache
def _named(name: str) -> Any:
    """What a dotted name stands for in an annotation."""
    if name.partition(".")[0] in STANDARD_MODULES:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)
    bound = source.binding(name)
    match bound:
        case (found, ast.ClassDef() as definition):
            return _Placeholder(definition.name, (), {"__module__": found.name})
        case (found, ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value)):
            return _evaluate(found, value)
        case None if name.startswith(("torch.", "torchmetrics.")):  # such as torch.device, which is written in C++
            return _Placeholder(name.rpartition(".")[2], (), {"__module__": name.rpartition(".")[0]})
    raise _Unfollowed


class _Placeholder(type):
    """The type of the empty classes that represent those that are not imported."""


def docstring(located: Located) -> str:
    """The docstring of a class or function, also if it is assigned behind it, as PyTorch's optimizers do."""
    own = ast.get_docstring(located.node)
    if own is not None:
        return own
    place = f"{located.node.name}.__doc__"
    for statement in ast.parse(located.module.path.read_bytes()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == place:
            return "".join(_texts(located.module, statement.value))
    return ""


def about_type(home: Module, annotation: ast.expr | None) -> str:
    """The docstring behind the definition of a type that an annotation names, such as ``ActivationName``, or none."""
    if isinstance(annotation, ast.BinOp):
        return about_type(home, annotation.left) or about_type(home, annotation.right)
    name = source.resolve(home, annotation) if isinstance(annotation, ast.Name | ast.Attribute) else None
    match source.binding(name) if name is not None else None:
        case (found, ast.Assign() as definition):
            body = ast.parse(found.path.read_bytes()).body
            behind = {statement.lineno: text for statement, text in itertools.pairwise(body)}.get(definition.lineno)
            match behind:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    return text
    return ""


def _texts(home: Module, node: ast.expr) -> Iterator[str]:
    """The texts that an expression joins, without what cannot be followed."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.BinOp(op=ast.Add()):
            yield from _texts(home, node.left)
            yield from _texts(home, node.right)
        case ast.JoinedStr():
            for part in node.values:
                yield from _texts(home, part.value if isinstance(part, ast.FormattedValue) else part)
        case ast.Name():
            name = source.resolve(home, node)
            match source.binding(name) if name is not None else None:
                case (found, ast.Assign(value=value)):
                    yield from _texts(found, value)
