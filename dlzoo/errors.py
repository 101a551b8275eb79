"""Errors that are the user's to mend: they reach the terminal as one or two lines, never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """A mistake that the user can mend; the message names what was given, what is allowed and what to change."""


class SpecError(UserError):
    """A net or task cannot work with what the data promises."""


class RunFailed(Exception):
    """A run that had to end although its words were right: exit code 1, and no traceback.

    Args:
        reason: in one sentence, for ``results.json`` and for a sweep's record.
        details: what else is known, on lines of its own.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details

    def __str__(self) -> str:
        return f"{self.reason}\n{self.details}" if self.details else self.reason


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error sentence: the nearest right name, or all of them when none is near.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'?"
    >>> nearest("qqq", ["relu", "tanh"])
    'choose from: relu, tanh'
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"choose from: {', '.join(names) or '(nothing)'}"


def pick(name: str, table: Mapping[str, T], key: str) -> T:
    """``table[name]``, or a `UserError` that names the config key, the value given and the nearest right one."""
    if name not in table:
        raise UserError(f"{key}={name} is unknown; {nearest(name, table)}")
    return table[name]


def at_least(least: float, node: str = "", **values: float | None) -> None:
    """`UserError` for the first value below ``least``, by the name that it has in the config; None is no value.

    >>> at_least(1, "data", batch_size=8, val_size=None)
    >>> at_least(1, "data", batch_size=0)
    Traceback (most recent call last):
    dlzoo.errors.UserError: data.batch_size=0 is too small; it must be at least 1
    """
    for key, value in values.items():
        if value is not None and value < least:
            raise UserError(f"{node}{'.' if node else ''}{key}={value} is too small; it must be at least {least}")
