"""Errors that are the user's to mend: they reach the terminal as one or two lines, never as a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MISTAKES = (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError)
"""What PyTorch and Lightning raise while a part is built from options that it cannot use."""

MOST_NAMES = 100
"""That a message lists."""


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


class RankLost(RunFailed):
    """Another process of a run is gone, so the exchange of gradients broke off.

    Args:
        rank: of this process, which has to end too.
    """

    def __init__(self, rank: int) -> None:
        super().__init__(
            f"rank {rank} stops, because another process of the run has ended: what it said stands above; if it said "
            "nothing it was killed, perhaps for want of memory; the same command with resume=auto goes on from the "
            "last checkpoint"
        )


def visible(text: object, keep: str = "\n\t") -> str:
    """A text of somebody else's as it may be shown: signs that a terminal would obey, or that turn the direction of
    what follows, are written out.

    Args:
        keep: signs that stay although they are not printed.

    >>> print(visible("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    text = as_text(text)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else repr(sign)[1:-1] for sign in text)


def as_text(value: object) -> str:
    """``str(value)``, also of numbers with more digits than Python converts.

    >>> as_text(16**6000)
    'int with too many digits to show'
    """
    try:
        return f"{value}"
    except ValueError:
        return f"{type(value).__name__} with too many digits to show"


def short(text: object, most: int = 60) -> str:
    """A text that a message quotes, cut to its beginning and with nothing in it that a terminal would obey.

    >>> short("a\\nb"), short("x" * 100, 10)
    ('a\\\\nb', 'xxxxxxxxx…')
    """
    shown = visible(as_text(text)[: most + 1], keep="")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def one_line(error: BaseException | str, most: int = 1000) -> str:
    """A message as a terminal shows it: one line of bounded length."""
    text = short(" ".join(f"{error}".split()), 100 * most)
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-most // 3 :]}"


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error sentence: the nearest right name, or all of them when none is near.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'?"
    >>> nearest("qqq", ["relu", "tanh"])
    'choose from: relu, tanh'
    """
    names = sorted(name for name in allowed if len(name) < 200)  # comparing takes the square of the length
    close = difflib.get_close_matches(str(word)[:200], names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{short(close[0])}'?"
    more = ", …" if len(names) > MOST_NAMES else ""
    return f"choose from: {', '.join(map(short, names[:MOST_NAMES])) or '(nothing)'}{more}"


def pick(name: str, table: Mapping[str, T], key: str) -> T:
    """``table[name]``, or a `UserError` that names the config key, the value given and the nearest right one."""
    if name not in table:
        raise UserError(f"{key}={name} is unknown; {nearest(name, table)}")
    return table[name]


def ignored_option(key: str, value: object, needs: str) -> UserError:
    """What to say of an option that has no effect beside the others.

    >>> print(ignored_option("task.gamma", 3.0, "task.loss=focal"))
    task.gamma=3.0 would be ignored: it has an effect only with task.loss=focal; leave it out
    """
    return UserError(f"{key}={short(value)} would be ignored: it has an effect only with {needs}; leave it out")


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


class NonFinite(RunFailed):
    """A step gave numbers that are not finite.

    Args:
        reason: the step, and what was not finite.
        facts: further (name, sentence), in their order.
        file: that shows the step again.
        all_rows: the numbers of all rows of the batch.
    """

    def __init__(
        self, reason: str, facts: list[tuple[str, str]] | None = None, file: Path | None = None, all_rows: str = ""
    ) -> None:
        self.facts = facts or []
        super().__init__(reason, "\n".join(f"  {name:8} {sentence}" for name, sentence in self.facts))
        self.file = file
        self.all_rows = all_rows
