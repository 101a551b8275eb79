"""The range of a numeric option: stated for its name, or read from the checks in its part's constructor."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from dlzoo.config.source import Definition
from dlzoo.errors import UserError, short

MAX_SEED = 2**32 - 1
MAX_LAYERS = 1000
"""Building more takes too long."""


class Bounds(NamedTuple):
    """The range of a number."""

    least: float | None = None
    most: float | None = None
    is_open: bool = False
    """Whether the number itself must be within, not equal to either end."""
    remedy: str = ""
    """What to set in place of a number outside; empty if nothing else does."""

    def __str__(self) -> str:
        """In words.

        >>> print(Bounds(1), Bounds(0, 1), Bounds(0, 1, is_open=True), Bounds(0, is_open=True), sep=" | ")
        1 or more | 0 to 1 | between 0 and 1 | above 0
        """
        if self.least is not None and self.most is not None:
            ends = f"{self.least:,}", f"{self.most:,}"
            return f"between {ends[0]} and {ends[1]}" if self.is_open else f"{ends[0]} to {ends[1]}"
        if self.least is not None:
            return f"above {self.least:,}" if self.is_open else f"{self.least:,} or more"
        return f"{self.most:,} or less"

    def allows(self, value: float) -> bool:
        """Whether a number is in the range.

        >>> Bounds(0, 1).allows(1), Bounds(0, 1, is_open=True).allows(1), Bounds(most=9).allows(10)
        (True, False, False)
        """
        is_end = value in (self.least, self.most)
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and not (self.is_open and is_end)
        )

    def check(self, key: str, value: object) -> None:
        """`UserError` if a number is outside; values that are no numbers are reported elsewhere.

        >>> Bounds(-1, remedy="-1 sets no limit").check("trainer.max_steps", -2)
        Traceback (most recent call last):
        dlzoo.errors.UserError: trainer.max_steps=-2 must be -1 or more; -1 sets no limit
        """
        if isinstance(value, int | float) and not isinstance(value, bool) and not self.allows(value):
            remedy = f"; {self.remedy}" if self.remedy else ""
            raise UserError(f"{key}={short(value)} must be {self}{remedy}")


def by_name(name: str) -> Bounds | None:
    """The range that an option of this name has in any part.

    >>> by_name("test_seed"), by_name("hidden")
    (Bounds(least=0, most=4294967295, is_open=False, remedy=''), None)
    """
    if name == "seed" or name.endswith("_seed"):
        return Bounds(0, MAX_SEED)
    return Bounds(most=MAX_LAYERS) if name == "num_layers" else None


def checked(function: Definition) -> Iterator[tuple[str, Bounds]]:
    """The ranges that a function checks its own arguments for, by `dlzoo.errors.at_least` and `between`.

    >>> text = "def f(lr, dropout):\\n    at_least(1, 'net', lr=lr)\\n    between(0, 1, 'net', dropout=dropout)"
    >>> {name: str(bounds) for name, bounds in checked(ast.parse(text).body[0])}
    {'lr': '1 or more', 'dropout': '0 to 1'}
    """
    for call in ast.walk(function):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        values = {keyword.arg: keyword.value for keyword in call.keywords}
        ends = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, int | float)]
        match call.func.id, ends:
            case "at_least", [least]:
                bounds = Bounds(least)
            case "between", [least, most]:
                flag = values.pop("exclusive", None)
                bounds = Bounds(least, most, is_open=isinstance(flag, ast.Constant) and bool(flag.value))
            case _:
                continue
        for name, value in values.items():
            if name is not None and isinstance(value, ast.Name) and value.id == name:
                yield name, bounds
