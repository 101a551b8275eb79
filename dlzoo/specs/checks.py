"""What the values of a spec must be, for one that was stored and may come from a stranger."""

from __future__ import annotations

from collections.abc import Sequence

from dlzoo.errors import UserError

MOST = 2**53
"""Of any whole number."""
MOST_STEPS = 100_000
"""Of a forecast: each step is one pass through the net."""
LONGEST_TOKEN = 10_000
"""Characters of an entry of a vocabulary."""
MOST_WRITTEN = 100
"""Characters of a token that are written: a vocabulary of long ones would make megabytes of a sample."""


def within(least: int, owner: object, most: int = MOST, **values: int | Sequence[int] | None) -> None:
    """`UserError` for the first number below ``least`` or above ``most``, by the field that holds it.

    >>> within(1, "", window=12, differences=(1, 12), max_length=None)
    >>> within(1, "", window=0)
    Traceback (most recent call last):
    dlzoo.errors.UserError: the stored spec, str.window: 0 is not from 1 to 9,007,199,254,740,992
    """
    for name, given in values.items():
        for value in given if isinstance(given, Sequence) else () if given is None else (given,):
            if not least <= value <= most:
                raise UserError(f"the stored spec, {_place(owner, name)}: {value} is not from {least} to {most:,}")


def sized(owner: object, length: int, **values: Sequence[object]) -> None:
    """`UserError` for the first list that is neither empty nor of this length.

    >>> sized("", 2, mean=(0.5, 0.5), std=())
    """
    for name, given in values.items():
        if len(given) not in (0, length):
            raise UserError(
                f"the stored spec, {_place(owner, name)}: it holds {len(given)} values, where {length} or none are"
            )


def fitted(owner: object, length: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Mean and standard deviation: both of this length, or both empty."""
    sized(owner, length, mean=mean, std=std)
    if len(mean) != len(std):
        raise UserError(f"the stored spec, {_place(owner, 'std')}: mean and std go together")


def _place(owner: object, name: str) -> str:
    return f"{type(owner).__name__}.{name}"
