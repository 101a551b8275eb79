"""What the values of a spec must be, for one that was stored and may come from a stranger."""

from __future__ import annotations

from collections.abc import Sequence

from dlzoo.errors import UserError

MAX_INT = 2**53
"""Limit of every integer in a spec: larger ones are not exact as floats."""
MAX_HORIZON = 100_000
"""Of a forecast: each step is one pass through the net."""
MAX_NUM_STEPS = 1_000_000
"""Tokens in a piece of text: a net may have a vector for each position."""
MAX_OUTPUT_LENGTH = 2_000
"""Tokens of a sequence that a net writes: each is one pass through the net, which attends to all before it."""
MAX_TOKEN_LENGTH = 10_000
"""Characters of an entry of a vocabulary."""
MAX_SHOWN_LENGTH = 100
"""Characters of a token that are written: a vocabulary of long ones would make megabytes of a sample."""


def check_range(least: int, owner: object, most: int = MAX_INT, **values: int | Sequence[int] | None) -> None:
    """`UserError` for the first number below ``least`` or above ``most``, by the field that holds it.

    >>> check_range(1, "", window=12, differences=(1, 12), max_length=None)
    >>> check_range(1, "", window=0)
    Traceback (most recent call last):
    dlzoo.errors.UserError: the stored spec, str.window: 0 is not from 1 to 9,007,199,254,740,992
    """
    for name, given in values.items():
        for value in given if isinstance(given, Sequence) else () if given is None else (given,):
            if not least <= value <= most:
                raise UserError(f"the stored spec, {_place(owner, name)}: {value} is not from {least} to {most:,}")


def check_length(owner: object, length: int, **values: Sequence[object]) -> None:
    """`UserError` for the first list that is neither empty nor of this length.

    >>> check_length("", 2, mean=(0.5, 0.5), std=())
    """
    for name, given in values.items():
        if len(given) not in (0, length):
            raise UserError(
                f"the stored spec, {_place(owner, name)}: it holds {len(given)} values, where {length} or none are"
            )


def check_statistics(owner: object, length: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Mean and standard deviation: both of this length, or both empty."""
    check_length(owner, length, mean=mean, std=std)
    if len(mean) != len(std):
        raise UserError(f"the stored spec, {_place(owner, 'std')}: mean and std go together")


def _place(owner: object, name: str) -> str:
    return f"{type(owner).__name__}.{name}"
