"""What a command does with its standard output."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

from dlzoo.errors import visible

_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)


@contextlib.contextmanager
def visible_output() -> Iterator[None]:
    """While another library prints names and texts that may come from a stranger: control characters are escaped.

    Handlers that it adds to the root logger, which write to these streams, are removed at the end.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with contextlib.redirect_stdout(_Visible(sys.stdout)), contextlib.redirect_stderr(_Visible(sys.stderr)):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class _Visible(io.TextIOBase):
    """A stream that writes text to another as it may be shown."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def discard_output() -> None:
    """Send the rest of the output nowhere, after its reader, such as ``head``, has closed the pipe: otherwise Python
    would complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def terminal_width(otherwise: int = 80) -> int:
    """Characters of a line of the terminal, or of the environment variable COLUMNS.

    Args:
        otherwise: where neither says it, as in a pipe.
    """
    return max(shutil.get_terminal_size((otherwise, 24)).columns, 40)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def is_quiet() -> bool:
    """Whether notes are discarded, see `quietly`."""
    return _is_quiet.get()


@contextlib.contextmanager
def quietly(*, enabled: bool = True) -> Iterator[None]:
    """Discard what is printed to the standard output, and each `note`; warnings and errors go to the standard error."""
    if not enabled:
        yield
        return
    token = _is_quiet.set(True)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        _is_quiet.reset(token)


def note(text: str, end: str = "\n") -> None:
    """Print what a long step is doing, to the standard error: the standard output may be read by a program."""
    if not is_quiet():
        print(text, end=end, file=sys.stderr, flush=True)
