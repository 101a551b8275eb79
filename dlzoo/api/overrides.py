"""Keyword arguments and dicts as overrides in Hydra's grammar."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator, Mapping, Sequence

from dlzoo.config import overrides as config_overrides
from dlzoo.errors import UserError, short


def overrides_of(given: Sequence[str], options: Mapping[str, object]) -> list[str]:
    """Overrides as the command line has them: those given as text, then the keyword arguments.

    >>> overrides_of(["model=mlp"], {"net": {"hidden": [300, 100]}, "seed": 3, "ckpt": None})
    ['model=mlp', 'net.hidden=[300,100]', 'seed=3', 'ckpt=null']

    Raises:
        UserError: a value of a kind that no config has.
    """
    for text in given:
        if not isinstance(text, str) or text.startswith("-") or not ("=" in text or text.startswith("~")):
            raise UserError(f'{short(text)!r}: write options as "key=value", such as "model=mlp", or as key=value')
    parts = {key: value for key, value in options.items() if value != {}}  # no option of a part is set
    return [*given, *(text for key, value in parts.items() for text in _flattened(key, value))]


def _flattened(key: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _flattened(f"{key}.{name}", part)
    elif isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        yield f"{key}={text}" if isinstance(text, str) and text.isidentifier() else config_overrides.quoted(key, text)
    else:
        yield f"{key}={literal(value, key)}"


def literal(value: object, key: str) -> str:
    """A value in Hydra's grammar.

    >>> literal([1, None, "a b", {"x": True}], "data.columns")
    '[1,null,"a b",{x:true}]'
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, str | os.PathLike):
        return config_overrides.quoted(key, os.fspath(value)).removeprefix(f"{key}=")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{literal(part, key)}" for name, part in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(literal(part, key) for part in value) + "]"
    raise UserError(f"{key}={short(value)} is a {type(value).__name__}: give a number, a text, a list or a dict")
