"""Numbers on the command line: ``[1, 0.5]``, or ``[[1, 0], [0, 1]]``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dlzoo.errors import UserError, short


@dataclass(frozen=True)
class Numbers:
    """Nested lists of equal lengths.

    Args:
        lists: of floats.
        shape: their lengths, from the outermost.
    """

    lists: list[Any]
    shape: tuple[int, ...]


def read(text: str, key: str, most: int) -> Numbers:
    """The numbers of a text.

    Args:
        key: the option that they are given by, for messages.
        most: the limit of their number.

    Raises:
        UserError: it is no list of numbers, its rows differ in length, or there are none or too many.
    """
    import yaml

    from dlzoo.utils.untrusted import check_yaml

    check_yaml(text, key)
    lists = yaml.safe_load(text)
    if not isinstance(lists, list):
        raise UserError(f"{key}={short(text)} must be a list of numbers, such as [1, 0.5], or a list of rows")
    shape = _shape(lists, key)
    if not 0 < math.prod(shape) <= most:
        raise UserError(f"{key} has {math.prod(shape):,} numbers; there must be at least 1 and at most {most:,}")
    return Numbers(_floats(lists, key), shape)


def _shape(lists: list[Any], key: str) -> tuple[int, ...]:
    inner = [item for item in lists if isinstance(item, list)]
    if not inner:
        return (len(lists),)
    shapes = {_shape(item, key) for item in inner}
    if len(inner) < len(lists) or len(shapes) > 1:
        raise UserError(f"{key} has rows of different lengths: {short(str(lists))}; all must have equally many numbers")
    return (len(lists), *shapes.pop())


def _floats(lists: list[Any], key: str) -> list[Any]:
    found: list[Any] = []
    for item in lists:
        if isinstance(item, list):
            found.append(_floats(item, key))
            continue
        try:
            number = math.nan if isinstance(item, bool) else float(item)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"{key} contains {short(str(item))}, which is no finite number")
        found.append(number)
    return found
