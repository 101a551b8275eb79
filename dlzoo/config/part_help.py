"""What ``--help`` says about the options of the chosen parts, read from their sources without importing torch."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from dlzoo.config import source
from dlzoo.config.allowlist import is_built_in
from dlzoo.config.schema import RUNTIME_ARGUMENTS
from dlzoo.errors import short

PARTS = ("net", "task", "optimizer", "scheduler", "data")
"""The nodes whose options are listed; those of Lightning's Trainer are in its documentation."""
WIDTH = 110
ENTRY = re.compile(r"^\s+\**([\w, *]+?)(?: \([^)]*\))?: *(.*)$")
"""An entry of the section Args of a docstring."""


class Option(NamedTuple):
    """An option of a part."""

    name: str
    default: str
    """Its value in the config, or the default in the signature; empty if it has none."""
    about: str
    """Its entry in the docstring, in one line; may be empty."""


def lines(cfg: DictConfig) -> Iterator[str]:
    """The options of the parts of a composed config."""
    for node in PARTS:
        part = _plain(cfg, node)
        name = part.get("_target_")
        if not isinstance(name, str) or not is_built_in(name):
            continue
        yield ""
        yield f"{node}: {name}"
        for option in options(name):
            if option.name in RUNTIME_ARGUMENTS.get(node, set()):
                continue
            value = shown(part[option.name]) if option.name in part else option.default
            yield f"  {f'{node}.{option.name}={short(value, 40)}':44} {option.about}".rstrip()


def _plain(cfg: DictConfig, node: str) -> Mapping[str, object]:
    content = cfg._get_node(node)
    plain = OmegaConf.to_container(content, resolve=False) if isinstance(content, DictConfig) else None
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


def options(target: str) -> list[Option]:
    """The options of a class or function in the order of its signature, then those of its base classes."""
    found: dict[str, Option] = {}
    about: dict[str, str] = {}
    for located in source.lineage(target):
        if located is None:
            break
        function = source.constructor(located.node)
        about = entries(ast.get_docstring(located.node) or "") | about
        if function is None:
            continue
        about = entries(ast.get_docstring(function) or "") | about
        for name, default in defaults(function.args):
            found.setdefault(name, Option(name, default, ""))
        if function.args.kwarg is None:
            break
    return [option._replace(about=about.get(option.name, "")) for option in found.values()]


def defaults(signature: ast.arguments) -> Iterator[tuple[str, str]]:
    """The arguments with their defaults, as Python writes them; without ``self``."""
    given = [*[None] * (len(signature.args) - len(signature.defaults)), *signature.defaults]
    arguments = [*signature.args, *signature.kwonlyargs]
    for argument, value in zip(arguments, [*given, *signature.kw_defaults], strict=True):
        if argument.arg != "self":
            yield argument.arg, "" if value is None else as_yaml(value)


def as_yaml(value: ast.expr) -> str:
    """A default as one writes it on the command line.

    >>> [as_yaml(ast.parse(text, mode="eval").body) for text in ("None", "True", "(8, 4)", "'relu'", "1e-3")]
    ['null', 'true', '[8, 4]', 'relu', '0.001']
    """
    try:
        return shown(ast.literal_eval(value))
    except ValueError:  # a name
        return ast.unparse(value)


def shown(value: object) -> str:
    """A value as one writes it on the command line.

    >>> shown(None), shown((8, 4)), shown("relu")
    ('null', '[8, 4]', 'relu')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str([*value]) if isinstance(value, tuple) else str(value)


def entries(docstring: str) -> dict[str, str]:
    """The section Args of a docstring: what it says about each argument, in one line.

    >>> entries('''A net.
    ...
    ... Args:
    ...     hidden: widths of the layers,
    ...         the first one first.
    ...     dropout: a probability.
    ... ''')
    {'hidden': 'widths of the layers, the first one first.', 'dropout': 'a probability.'}
    """
    _, found, section = inspect.cleandoc(docstring).partition("Args:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    indent = None
    for line in section.splitlines() if found else ():
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth == 0:
            break
        indent = depth if indent is None and line.strip() else indent
        if depth == indent and (match := ENTRY.match(line)):
            names = match[1].replace("*", "").split(", ")
            texts |= dict.fromkeys(names, match[2])
        else:
            texts |= {name: f"{texts[name]} {line.strip()}".strip() for name in names}
    return {name: textwrap.shorten(text, WIDTH - 45, placeholder=" …") for name, text in texts.items()}
