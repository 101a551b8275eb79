"""Files and folders that the user names, and atomic writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dlzoo.errors import UserError, nearest
from dlzoo.utils import archives as durable

OF_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Pipes that the user has made on this command line, as by ``<(…)``."""
SYSTEM = ("/proc/", "/sys/")
"""Where Linux shows what it knows of its processes: the environment of this one is ``/proc/self/environ``."""


def existing(text: str, key: str) -> Path:
    """The file or folder that an option names; `UserError` with the closest existing name if there is none."""
    path = Path(os.path.expanduser(text))  # Path.expanduser() raises for an unknown user
    if os.path.exists(path):
        if path.is_fifo() and not str(path).startswith(OF_THE_SHELL):
            raise UserError(f"{key}={text}: this is a pipe, which may be waited for without end; give a file")
        if not path.is_fifo() and os.path.realpath(path).startswith(SYSTEM):
            raise UserError(f"{key}={text}: this is a part of the system, not data; it may hold secrets")
        return path
    if not os.path.isdir(path.parent):
        raise UserError(f"{key}={text}: there is no folder {path.parent}")
    try:
        siblings = os.listdir(path.parent)
    except OSError as error:
        raise UserError(f"{key}={text}: the folder cannot be read ({error.strerror})") from None
    hint = nearest(path.name, siblings)
    if not hint.startswith("did you mean") and len(siblings) > 10:
        hint = f"{len(siblings)} others are in its folder, none with a similar name"
    raise UserError(f"{key}={text}: there is no such file or folder; {hint}")


def existing_file(text: str, key: str) -> Path:
    """Like `existing`, but only a file."""
    path = existing(text, key)
    if path.is_dir():
        raise UserError(f"{key}={text}: this is a folder; give a file")
    if path.is_char_device() or path.is_block_device():
        raise UserError(f"{key}={text}: this is a device; give a file")
    return path


def writable(text: str, key: str, *read: Path) -> Path:
    """The path of an output file: its folder exists, and it is none of the input files ``read``."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise UserError(f"{key}={text}: this is a folder; give a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{key}={text}: {path.parent} is not a writable folder")
    if any(path.exists() and path.samefile(other) for other in read):
        raise UserError(f"{key}={text}: this would overwrite an input file; choose another name")
    return path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it atomically replaces ``path`` if the block succeeds.

    `dlzoo.utils.archives.write` is for files that must also survive a crash of the machine.
    """
    with durable.temporary_file(path) as (temporary, _):
        yield temporary
        os.replace(temporary, path)


def write(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    try:
        with replaced(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from None


def write_folder(text: str, key: str, files: dict[str, bytes]) -> Path:
    """Write files into the folder that an option names, which is created if missing."""
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={text}: there is no such folder, and it cannot be created ({error.strerror})") from None
    for name, content in files.items():
        write(path / name, content)
    return path
