"""Files and folders that the user names, and atomic writes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, TypeGuard

from dlzoo.errors import UserError, nearest, short
from dlzoo.utils import archives as durable

OnError = Callable[[OSError], None] | None

OF_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Pipes that the user has made on this command line, as by ``<(…)``."""
LONGEST_NAME = 255
"""Bytes of a file's name, on all common file systems."""
SYSTEM = ("/proc/", "/sys/")
"""Where Linux shows what it knows of its processes: the environment of this one is ``/proc/self/environ``."""


MAX_LEVELS = 100
"""Of folders in folders, on the disk and in archives."""


def walk(
    folder: Path, *, follow_links: bool = False, on_error: OnError = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like `os.walk`, which recurses, but of folders of bounded depth.

    Raises:
        UserError: they are nested more than `MAX_LEVELS` levels deep.
    """
    for path, folders, names in os.walk(folder, followlinks=follow_links, onerror=on_error):
        check_levels(path[len(str(folder)) :].count(os.sep), folder)
        yield path, folders, names


def check_levels(num_levels: int, source: object) -> None:
    if num_levels > MAX_LEVELS:
        raise UserError(f"{short(source, 200)} holds folders nested more than {MAX_LEVELS} levels deep: remove them")


def paths_in(folder: Path) -> Iterator[Path]:
    """Everything in a folder and its subfolders; links are not followed."""
    for path, folders, names in walk(folder):
        yield from (Path(path, name) for name in (*folders, *names))


def is_file_name(name: object) -> TypeGuard[str]:
    """Whether this is a name that a file can have in any folder.

    >>> is_file_name("a.npz"), is_file_name("../a.npz"), is_file_name(".."), is_file_name("a" * 300), is_file_name(7)
    (True, False, False, False, False)
    """
    return (
        isinstance(name, str)
        and name.isprintable()
        and name not in ("", ".", "..")
        and not {*name} & {"/", "\\"}
        and len(name.encode()) <= LONGEST_NAME
    )


def is_path(value: object) -> bool:
    r"""Whether this is text that the system can look up as a path.

    >>> is_path("a/b"), is_path(""), is_path("a" * 300), is_path("a\0b")
    (True, True, False, False)
    """
    try:
        parts = [os.fsencode(part) for part in Path(value).parts] if isinstance(value, str) else None
    except UnicodeEncodeError:  # half of a character
        return False
    return parts is not None and all(len(part) <= LONGEST_NAME and 0 not in part for part in parts) and len(parts) < 100


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
    if is_path(str(path)) and path.is_dir():
        raise UserError(f"{key}={text}: this is a folder; give a file")
    if not is_file_name(path.name):
        raise UserError(f"{key}={short(text, 200)}: this is not the name of a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{key}={text}: {path.parent} is not a writable folder")
    if any(path.exists() and path.samefile(other) for other in read):
        raise UserError(f"{key}={text}: this would overwrite an input file; choose another name")
    return path


def open_regular(path: Path) -> BinaryIO:
    """A file, opened for reading, that cannot make its reader wait.

    What is checked is what was opened, so it does not matter if the name gets another meaning in between.

    Raises:
        UserError: it is a pipe, a device or a folder, other than a pipe of the shell, or a part of the system.
        OSError: it cannot be opened.
    """
    if str(path).startswith(OF_THE_SHELL):
        return path.open("rb")
    if os.path.realpath(path).startswith(SYSTEM):
        raise UserError(f"{short(path, 200)} is a part of the system, which may hold secrets, and is not read")
    handle = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise UserError(f"{short(path, 200)} is not a regular file")
    return file


def open_text(path: Path, mode: Literal["w", "a"]) -> TextIO:
    """A text file of a run or a sweep, opened for writing, with line ends as they are written.

    Others may write to the folder too: a link that has taken the file's name is replaced by a new file, and refused
    where the file is continued; what is there is never written through it.

    Raises:
        UserError: there is a link, a pipe or a device of that name.
        OSError: it cannot be opened.
    """
    if mode == "w" and path.is_symlink():
        path.unlink(missing_ok=True)
    try:
        file = open(path, mode, newline="", encoding="utf-8", opener=_open_for_writing)  # noqa: SIM115  # returned
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise UserError(f"{short(path, 200)} is a link or a pipe and is not written to: remove it") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{short(path, 200)} is not a regular file and is not written to: remove it")
    return file


def _open_for_writing(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | durable.NEW_FILE & ~getattr(os, "O_BINARY", 0), 0o666)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it atomically replaces ``path`` if the block succeeds.

    `dlzoo.utils.archives.write` is for files that must also survive a crash of the machine.
    """
    with durable.temporary_file(path) as (temporary, file):
        file.close()  # Windows renames no open file
        yield temporary
        os.replace(temporary, path)


def write(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    try:
        with replaced(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from None


def write_folder(text: str | None, key: str, files: dict[str, bytes], *, default: Path | str) -> Path:
    """Write files into the folder that an option names, which is created if missing.

    Args:
        default: in a run's folder, or in the current one, which may be shared: a link of this name is not written
            through.
    """
    path = Path(text or default).expanduser()
    if not text and path.is_symlink():
        raise UserError(f"{path} is a link to another folder and is not written to: give {key}=…")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={path}: there is no such folder, and it cannot be created ({error.strerror})") from None
    for name, content in files.items():
        write(path / name, content)
    return path
