"""Errors that the user can fix: they are printed in one or two lines, never as a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MISTAKES = (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError)
"""What PyTorch and Lightning raise when a part is built with invalid options."""

MAX_NAMES = 100
"""Maximum number of names that a message lists."""

MAX_COMPARED = 200
"""Characters of a name that is compared with another, which takes quadratic time."""

MAX_COMPARISONS = 10_000_000
"""Of a character with a character, in search of a similar name: a second or two."""


class UserError(ValueError):
    """A mistake that the user can fix; the message names what was given, what is allowed and what to change.

    Names of classes, columns and files in it are untrusted, and Python prints an error that nobody catches.
    """

    def __str__(self) -> str:
        return visible(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence alone."""
        return [f"UserError: {visible(self)}"]


class SpecError(UserError):
    """A net or task that cannot work with the spec of the data."""


class RunFailed(Exception):
    """A run that failed although its overrides were valid: exit code 1, without a traceback.

    Args:
        reason: in one sentence, for ``results.json`` and for a sweep's record.
        details: further lines.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details

    def __str__(self) -> str:
        return visible(f"{self.reason}\n{self.details}" if self.details else self.reason)


class RankLost(RunFailed):
    """Another process of a run has ended, so the exchange of gradients failed.

    Args:
        rank: of this process, which has to end as well.
    """

    def __init__(self, rank: int) -> None:
        super().__init__(
            f"rank {rank} stops because another process of the run has ended: see its message above; if there is none, "
            "it was killed, perhaps for lack of memory; the same command with resume=auto resumes from the last "
            "checkpoint"
        )


def visible(text: object, keep: str = "\n\t") -> str:
    """Untrusted text as it may be printed: control characters, and those that change the text direction, are escaped.

    Args:
        keep: control characters that are not escaped.

    >>> print(visible("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    text = as_text(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def as_text(value: object) -> str:
    """``str(value)``, also for numbers with more digits than Python converts.

    >>> as_text(16**6000)
    'int with too many digits to show'
    """
    try:
        return f"{value}"
    except ValueError:
        return f"{type(value).__name__} with too many digits to show"


def short(text: object, most: int = 60) -> str:
    """Text to quote in a message: truncated, and without control characters.

    >>> short("a\\nb"), short("x" * 100, 10)
    ('a\\\\nb', 'xxxxxxxxx…')
    """
    shown = visible(as_text(text)[: most + 1], keep="")
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def one_line(error: BaseException | str, most: int = 1000) -> str:
    """A message as one line of limited length."""
    text = short(" ".join(f"{error}".split()), 100 * most)
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-most // 3 :]}"


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of a message, cut to a length; the name of the error's type if it has no message.

    >>> first_line(ValueError("no such shape\\nat line 3")), first_line(KeyboardInterrupt())
    ('no such shape', 'KeyboardInterrupt')
    """
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The end of an error message: the closest allowed name, or all of them if none is close.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'?"
    >>> nearest("qqq", ["relu", "tanh"])
    'choose from: relu, tanh'
    """
    names = sorted(name for name in allowed if len(name) < MAX_COMPARED)
    close = closest(str(word), names) or closest(str(word).lower(), names)
    if close:
        return f"did you mean '{short(close)}'?"
    more = ", …" if len(names) > MAX_NAMES else ""
    return f"choose from: {', '.join(map(short, names[:MAX_NAMES])) or '(nothing)'}{more}"


def closest(word: str, names: Iterable[str]) -> str | None:
    """The most similarly spelt name; None if none is similar. Of long names, only the first ones are compared.

    >>> closest("rleu", ["relu", "tanh"]), closest("qqq", ["relu", "tanh"])
    ('relu', None)
    """
    import difflib

    given, room, compared = word[:MAX_COMPARED], MAX_COMPARISONS, []
    for name in names:
        if len(name) < MAX_COMPARED:
            room -= len(given) * len(name)
            if room < 0:
                break
            compared.append(name)
    return next(iter(difflib.get_close_matches(given, compared, n=1)), None)


def pick(name: str, table: Mapping[str, T], key: str) -> T:
    """``table[name]``, or a `UserError` that names the config key, the value given and the closest allowed one."""
    if name not in table:
        raise UserError(f"{key}={name} is unknown; {nearest(name, table)}")
    return table[name]


def ignored_option(key: str, value: object, needs: str) -> UserError:
    """The error for an option that has no effect in combination with the others.

    >>> print(ignored_option("task.gamma", 3.0, "task.loss=focal"))
    task.gamma=3.0 would be ignored: it has an effect only with task.loss=focal; omit it
    """
    return UserError(f"{key}={short(value)} would be ignored: it has an effect only with {needs}; omit it")


def at_least(least: float, node: str = "", **values: float | None) -> None:
    """`UserError` for the first value below ``least``, with its key in the config; None is ignored.

    >>> at_least(1, "data", batch_size=8, val_size=None)
    >>> at_least(1, "data", batch_size=0)
    Traceback (most recent call last):
    dlzoo.errors.UserError: data.batch_size=0 is too small; it must be at least 1
    """
    for key, value in values.items():
        if value is not None and value < least:
            raise UserError(f"{node}{'.' if node else ''}{key}={value} is too small; it must be at least {least}")


def between(least: float, most: float, node: str, *, exclusive: bool = False, **values: float | None) -> None:
    """`UserError` for the first value outside, with its key in the config; None is ignored.

    Args:
        exclusive: the ends themselves are outside.

    >>> between(0, 1, "task", tau=1.0)
    >>> between(0, 1, "data", val_fraction=1.0, exclusive=True)
    Traceback (most recent call last):
    dlzoo.errors.UserError: data.val_fraction=1.0 must lie between 0 and 1
    """
    for key, value in values.items():
        if value is not None and not (least < value < most if exclusive else least <= value <= most):
            raise UserError(f"{node}.{key}={value} must lie between {least:,} and {most:,}")


class NonFinite(RunFailed):
    """A step had non-finite values.

    Args:
        reason: the step, and what was not finite.
        facts: further (name, sentence), in their order.
        file: from which the step can be repeated.
        all_rows: the numbers of all rows of the batch.
    """

    def __init__(
        self, reason: str, facts: list[tuple[str, str]] | None = None, file: Path | None = None, all_rows: str = ""
    ) -> None:
        self.facts = facts or []
        super().__init__(reason, "\n".join(f"  {name:8} {sentence}" for name, sentence in self.facts))
        self.file = file
        self.all_rows = all_rows
