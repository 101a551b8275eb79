"""Shared by the small commands: ``key=value`` options, and errors in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from dlzoo.errors import RunFailed, UserError, nearest, one_line, visible
from dlzoo.utils.output import discard_output

T = TypeVar("T")

NAMED = re.compile(r"[\w.]+=")
"""How an option with its name begins."""


def execute(body: Callable[[Sequence[str]], None], usage: str | None, positional: Sequence[str] = ()) -> None:
    """Run a command with ``sys.argv`` and exit: 0 on success, 2 on a user error, reported in one line, 1 if a run that
    it started failed, and 128 plus the signal's number if a signal stopped it.

    Args:
        positional: the options whose values may be given without their names, in this order.
    """
    argv = with_names(sys.argv[1:], positional)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name may contain what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            warnings.simplefilter("ignore", FutureWarning)  # meant for library developers
            if {"--help", "-h"} & {*argv}:
                print((usage or "").strip())
            else:
                with checkpoint_errors(next((arg for arg in argv if arg.startswith("ckpt=")), None)):
                    body(argv)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except RunFailed as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output, such as head, has closed it
        discard_output()
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if _is_out_of_memory(error):
            print(f"error: out of memory ({one_line(error, 200)})", file=sys.stderr)
            sys.exit(1)
        signum = getattr(error, "signum", None)  # training.interruption.Interrupted, whose module imports torch
        if signum is None:
            raise
        print(f"\n{error}", file=sys.stderr)
        sys.exit(128 + signum)
    sys.exit(0)


def with_names(argv: Sequence[str], positional: Sequence[str]) -> list[str]:
    """The arguments, with the names of those that are given by position.

    >>> with_names(["best.ckpt", "format=csv", "a = b"], ["ckpt", "input"])
    ['ckpt=best.ckpt', 'format=csv', 'input=a = b']
    """
    given = {arg.partition("=")[0] for arg in argv if NAMED.match(arg)}
    names = iter([name for name in positional if name not in given])
    named = []
    for arg in argv:
        is_value = not NAMED.match(arg) and (arg == "-" or not arg.startswith("-"))
        name = next(names, None) if is_value else None
        named.append(arg if name is None else f"{name}={arg}")
    return named


def parse(options: type[T], argv: Sequence[str], *, others: Sequence[str] = ()) -> tuple[T, list[str]]:
    """A dataclass of options from ``key=value`` arguments, and the arguments whose key starts with one of ``others``.

    Raises:
        UserError: an unknown key, a key without or with two values, a value of the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(options)
    given: dict[str, Any] = {}
    rest = []
    for arg in argv:
        key, equals, text = arg.partition("=")
        if key.startswith(tuple(others)) and equals:
            rest.append(arg)
        elif not equals and key not in fields:
            keys = [*fields, *(f"{prefix}<option>" for prefix in others)]
            raise UserError(f"{arg}: write key=value; the keys are: {', '.join(keys)}")
        elif key not in fields:
            first = key.split(".")[0]
            raise UserError(f"{key}: there is no such option; {nearest(first, {*fields, *(p[:-1] for p in others)})}")
        elif key in given:
            raise UserError(f"{key} is given twice")
        else:
            given[key] = _value(key, text, hints[key])
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING:
            raise UserError(f"{name} is missing: add {name}=…; see --help")
    return options(**given), rest


def _value(key: str, text: str, hint: Any) -> Any:
    """The text of a value as the type of its field."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    if types.NoneType in typing.get_args(hint):
        return None if text == "null" else _value(key, text, kinds[0])
    if text == "":
        raise UserError(f"{key} is empty: give {key}=…")
    if typing.get_origin(hint) is Literal:
        if text not in kinds:
            raise UserError(f"{key}={text} is unknown; {nearest(text, kinds)}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{key}={text} must be true or false")
        return text.lower() == "true"
    try:
        return hint(text)
    except ValueError:
        raise UserError(f"{key}={text} must be {'an integer' if hint is int else 'a number'}") from None


class Content(io.BytesIO):
    """The content of a file or of standard input, in place of a path: messages call it by its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.shown_name = name

    def __repr__(self) -> str:
        return self.shown_name


def standard_input() -> Content:
    """All of it; `UserError` if there is nothing."""
    content = sys.stdin.buffer.read()
    if not content:
        raise UserError("standard input is empty")
    return Content(content, "standard input")


@contextlib.contextmanager
def checkpoint_errors(ckpt: str | None) -> Iterator[None]:
    """Turn errors in using a checkpoint into a `UserError`: its parts may be inconsistent in ways that no check covers.

    Args:
        ckpt: the argument that names it; None if the command line has none: errors are then bugs.

    Raises:
        UserError: names what failed; the error itself is its cause.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError, ArithmeticError) as error:
        if ckpt is None or _is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        raise UserError(f"{ckpt}: its net, its spec and these inputs are inconsistent ({reason})") from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return False
    from dlzoo.utils.memory import is_out_of_memory

    return is_out_of_memory(error)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {visible(message)}", file=sys.stderr)
