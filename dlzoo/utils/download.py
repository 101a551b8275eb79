"""Files of published data sets: found where they are, or downloaded once, never read damaged.

A download goes to a name of its own, ``.<name>.part``, and gets the one that is read only when its checksum is right.
What came of one that was broken off, even by ``kill -9``, is kept, and the next one goes on from there. Of several
processes that want the same file one fetches it, under a lock that the system takes back from the dead.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dlzoo.errors import UserError
from dlzoo.utils.http import Patience, Refused, Transfer, Unreached, no_link, say

PATIENCE = Patience()

MOST_BYTES = 4 << 30
"""Of a file that is downloaded, where no less is known: pretrained weights are the largest."""


def folder_of(data_dir: str | os.PathLike[str], *parts: str) -> Path:
    """An absolute path below ``data_dir``, which may be relative or start with ``~``."""
    return Path(os.path.abspath(Path(data_dir).expanduser())).joinpath(*parts)


def find(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in the folder.

    Raises:
        UserError: the folder may not be looked into.
    """
    try:
        return next((path for name in names if (path := folder / name).is_file()), None)
    except OSError as error:
        raise UserError(f"data_dir: {folder} cannot be read ({error.strerror})") from None


def read_bytes(path: Path) -> bytes:
    """The whole file; `UserError` if it may not be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"data_dir: {path} cannot be read ({error.strerror})") from None


class Unpacked(io.RawIOBase):
    """What a gzip file unpacks to, as a stream that ends in an error where it is more than any published file.

    Args:
        most: bytes.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.path = path
        self.left = most
        self.file = gzip.open(path)  # noqa: SIM115  # closed with this stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.file.read(min(len(buffer), 1 << 20))
        self.left -= len(content)
        if self.left < 0:
            raise damaged(self.path, "it unpacks to far more than the published file")
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self.file.close()
        super().close()


def check_md5(content: bytes, md5: str, path: Path) -> None:
    """Refuse content that is not the published one.

    Raises:
        UserError: names the file and what to do with it.
    """
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise damaged(path, "its checksum is not the published one")


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file that is there but must not be used."""
    return UserError(f"{path} is damaged: {reason}. Delete it, and the next run downloads it again")


def download(
    name: str,
    *,
    md5: str = "",
    sha256: str = "",
    folder: Path,
    mirrors: Sequence[str],
    key: str = "data_dir",
    instead: str = "choose data that are embedded: data=digits",
    most: int = MOST_BYTES,
) -> Path:
    """Fetch a file into a folder, from the first mirror that gives it undamaged.

    Args:
        md5: the published checksum; or else ``sha256``, of which the beginning is enough.
        mirrors: base URLs; ``name`` is appended.
        key: the setting or variable that says where the folder is.
        instead: what else the user may do.
        most: bytes that the file has at most.

    Raises:
        UserError: no mirror gave it, or the folder cannot be written.
    """
    refuse = f"{name} cannot be stored in {folder} (%s): choose another {key}, or {instead}"
    path, part = folder / name, folder / f".{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(refuse % "you may not write there")
        with _alone(path):
            if not path.is_file():  # else it came while this process waited
                say(f"downloading {name} to {folder}")
                hint = f"Put it into {folder} yourself ({key} says where that is), or {instead}"
                _fetch(name, md5 or sha256, "md5" if md5 else "sha256", part, mirrors, hint, most)
                os.replace(part, path)
    except (FileExistsError, NotADirectoryError):
        raise UserError(refuse % "that is a file, or below one") from None
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()  # the disk may be full
        raise UserError(refuse % (error.strerror or error)) from None
    return path


def _fetch(name: str, checksum: str, algorithm: str, part: Path, mirrors: Sequence[str], hint: str, most: int) -> None:
    """Leave the right file in ``part``. Mirrors that did not answer are asked again if that was said quickly."""

    def is_right() -> bool:
        with open(part, "rb", opener=no_link) as file:
            return hashlib.file_digest(file, algorithm).hexdigest().startswith(checksum)

    if part.is_symlink() or (part.exists() and part.stat().st_size > most):
        part.unlink()
    if part.exists() and is_right():
        return  # the process that fetched it died before it gave the file its name
    started, rounds = time.monotonic(), 0
    failures: dict[str, Refused] = {}
    waiting = [*mirrors]
    while waiting:
        for mirror in [*waiting]:
            try:
                Transfer(f"{mirror.rstrip('/')}/{name}", part, is_right, PATIENCE, most).run()
                return
            except Refused as failure:
                failures[mirror] = failure
                if not isinstance(failure, Unreached):
                    waiting.remove(mirror)
        rounds += 1
        pause = PATIENCE.pause(rounds)
        if time.monotonic() + pause - started > PATIENCE.offline / 2:
            break
        time.sleep(pause)
    reasons = "; ".join(f"{urlsplit(mirror).netloc or mirror}: {reason}" for mirror, reason in failures.items())
    kept = f" {part.stat().st_size / 1e6:,.1f} MB came and are kept." if part.exists() else ""
    raise UserError(f"{name} could not be downloaded ({reasons or 'data.mirrors is empty'}).{kept} {hint}")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file; a process that must wait says so."""
    import filelock

    place = path.with_name(f".{path.name}.lock")
    lock = filelock.FileLock(place)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"waiting for another process that downloads {path.name}")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)  # filelock sees that the file it locked has no name any more, and begins anew
        lock.release()
