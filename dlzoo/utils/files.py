"""Files by the names that users give, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dlzoo.errors import UserError, nearest
from dlzoo.utils import archives as durable


def existing(text: str, key: str) -> Path:
    """The file or folder that an option names; `UserError` with the nearest name beside it if there is none."""
    path = Path(os.path.expanduser(text))  # Path.expanduser() fails where there is no such user
    if os.path.exists(path):
        return path
    if not os.path.isdir(path.parent):
        raise UserError(f"{key}={text}: there is no folder {path.parent}")
    try:
        beside = os.listdir(path.parent)
    except OSError as error:
        raise UserError(f"{key}={text}: the folder cannot be read ({error.strerror})") from None
    hint = nearest(path.name, beside)
    if not hint.startswith("did you mean") and len(beside) > 10:
        hint = f"{len(beside)} others are in its folder, none with a name like it"
    raise UserError(f"{key}={text}: there is no such file or folder; {hint}")


def existing_file(text: str, key: str) -> Path:
    """As `existing`, but not for a folder."""
    path = existing(text, key)
    if path.is_dir():
        raise UserError(f"{key}={text}: this is a folder; give a file")
    if path.is_char_device() or path.is_block_device():
        raise UserError(f"{key}={text}: this is a device; give a file")
    return path


def writable(text: str, key: str, *read: Path) -> Path:
    """Where a result can be written: the folder exists, and it is none of the files ``read``."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise UserError(f"{key}={text}: this is a folder; give a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{key}={text}: {path.parent} is no folder that can be written to")
    if any(path.exists() and path.samefile(other) for other in read):
        raise UserError(f"{key}={text}: this would write over what is read; choose another name")
    return path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write a file that is to be whole or not at all: it takes the place of ``path`` when all went well.

    `durable.write` is for what must survive the machine as well.
    """
    with durable.temporary_file(path) as (temporary, _):
        yield temporary
        os.replace(temporary, path)


def write(path: Path, content: bytes) -> None:
    """A file, written whole or not at all."""
    try:
        with replaced(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from None


def write_folder(text: str, key: str, files: dict[str, bytes]) -> Path:
    """The folder that an option names, made where it is missing, with these files in it."""
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={text}: there is no such folder, and it cannot be made ({error.strerror})") from None
    for name, content in files.items():
        write(path / name, content)
    return path
