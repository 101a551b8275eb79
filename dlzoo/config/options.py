"""The options of the classes and functions that a config names: type, default, range and what the docstring says.

Those of dlzoo, PyTorch and Lightning are read from their sources, which takes no import of torch; those of a package
that the user trusts from the imported class.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, Union

from dlzoo.config import bounds, introspection, optimizer_options, source, source_types, trainer_options
from dlzoo.config.allowlist import Trust, is_built_in, is_of_plugin
from dlzoo.config.bounds import Bounds
from dlzoo.config.docstrings import entries, plain, summary
from dlzoo.config.schema import RUNTIME_ARGUMENTS
from dlzoo.config.settings import BESIDES

REQUIRED = inspect.Parameter.empty
"""In place of the default of an option that has none."""


class Expression(str):
    """A default that is not a plain value, as Python writes it."""


class Option(NamedTuple):
    """An option of a part."""

    name: str
    type: Any
    """The annotation; `source_types.UNKNOWN` if it has none, or none that can be followed."""
    default: object
    """`REQUIRED` if it has none, an `Expression` if it is not a plain value."""
    about: str
    """What the docstring says about it, in one line; may be empty."""
    bounds: Bounds | None
    """The range of its numbers."""


class Part(NamedTuple):
    """A class or function that a config may name."""

    target: str
    about: str
    """The first sentence of its docstring."""
    options: tuple[Option, ...]


def read(target: str, trusted: Trust | None = None) -> Part | None:
    """What a ``_target_`` takes, in the order of its signature, then of those of its base classes.

    A class of a plugin is read from its source if that can be followed.

    Args:
        trusted: whose packages may be imported.

    Returns:
        None if it is neither built in nor from a plugin or a trusted package.

    Raises:
        UserError: it is from a trusted package, but does not exist.
    """
    if is_built_in(target) or is_of_plugin(target):
        known = from_source(target)
        if known is not None or is_built_in(target):
            return known
    if trusted is not None and trusted.covers(target):
        return _from_class(target, trusted.resolve(target, "_target_"))
    return None


@cache
def from_source(target: str) -> Part | None:
    """Like `read`, from the source of a class or function of dlzoo, PyTorch or Lightning; None if there is none."""
    found: dict[str, Option] = {}
    about: dict[str, str] = {}
    ranges: dict[str, Bounds] = {}
    title = ""
    is_complete = False  # then what further base classes say may still describe some of the arguments
    for located in source.lineage(target):
        if located is None:
            break
        function = source.constructor(located.node)
        text = source_types.docstring(located)
        title = title or summary(text) or summary(ast.get_docstring(function) or "" if function else "")
        about = entries(text) | about
        if function is None:
            for option in () if is_complete else _fields(located):
                found.setdefault(option.name, option)
            continue
        about = entries(ast.get_docstring(function) or "") | about
        if is_complete:
            continue
        ranges = dict(bounds.checked(function)) | ranges
        for argument, default in _arguments(function.args):
            hint = source_types.evaluate(located.module, argument.annotation)
            kind = plain(source_types.about_type(located.module, argument.annotation))
            found.setdefault(argument.arg, Option(argument.arg, hint, default, kind, None))
        is_complete = function.args.kwarg is None
    if not found and not title:
        return None
    ranges |= _stated(target)
    return Part(target, title, tuple(_completed(option, about, ranges) for option in found.values()))


def _stated(target: str) -> Mapping[str, Bounds]:
    """The ranges of a class of Lightning or PyTorch that its constructor does not check."""
    if target == trainer_options.TARGET:
        return trainer_options.BOUNDS
    return optimizer_options.BOUNDS if target.startswith("torch.optim.") else {}


def in_node(part: Part, node: str, *, is_nested: bool = False) -> Iterator[Option]:
    """The options that a config may set where a node names this part.

    Args:
        is_nested: the part stands inside the one that the node names.
    """
    for option in part.options:
        if is_nested:
            yield option
        elif option.name not in RUNTIME_ARGUMENTS.get(node, set()):
            besides = BESIDES.get((node, option.name))
            yield option if besides is None else option._replace(type=Union[option.type, besides])  # noqa: UP007


def _completed(option: Option, about: Mapping[str, str], ranges: Mapping[str, Bounds]) -> Option:
    return option._replace(
        about=about.get(option.name) or option.about, bounds=ranges.get(option.name) or bounds.by_name(option.name)
    )


def _arguments(signature: ast.arguments) -> Iterator[tuple[ast.arg, object]]:
    """The arguments with their defaults, without ``self``."""
    given = [*[None] * (len(signature.args) - len(signature.defaults)), *signature.defaults]
    arguments = [*signature.args, *signature.kwonlyargs]
    for argument, value in zip(arguments, [*given, *signature.kw_defaults], strict=True):
        if argument.arg != "self":
            yield argument, REQUIRED if value is None else _plain(value)


def _fields(located: source.Located) -> Iterator[Option]:
    """The fields of a dataclass, each with the docstring behind it."""
    node = located.node
    decorators = {ast.unparse(item).partition("(")[0] for item in node.decorator_list}
    if not isinstance(node, ast.ClassDef) or "dataclass" not in decorators:
        return
    for item, behind in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign):
            continue
        name = item.target
        if not isinstance(name, ast.Name):
            continue
        is_text = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
        about = plain(str(behind.value.value)) if is_text else ""  # type: ignore[union-attr]
        hint = source_types.evaluate(located.module, item.annotation)
        yield Option(name.id, hint, REQUIRED if item.value is None else _plain(item.value), about, None)


def _plain(value: ast.expr) -> object:
    try:
        return ast.literal_eval(value)
    except ValueError:  # a name or a call
        return Expression(ast.unparse(value))


def _from_class(target: str, located: object) -> Part:
    """Of an imported class or function."""
    hints = introspection.arguments(located)
    about: dict[str, str] = {}
    defaults: dict[str, object] = {}
    for owner in inspect.getmro(located) if isinstance(located, type) else (located,):
        function = vars(owner).get("__init__") if isinstance(owner, type) else owner
        about = entries(owner.__doc__ or "") | about
        if not inspect.isfunction(function):
            continue
        about = entries(function.__doc__ or "") | about
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()} | defaults
    options = (
        Option(name, hint, defaults.get(name, REQUIRED), about.get(name, ""), bounds.by_name(name))
        for name, hint in hints.items()
    )
    return Part(target, summary(located.__doc__ or ""), tuple(options))
