"""Files of published data sets: used if present, otherwise downloaded once, and never read if damaged.

A download is written to ``.<name>.part`` and gets its final name only when its checksum matches. A partial download is
kept, even after ``kill -9``, and the next one resumes from it. If several processes need the same file, one of them
downloads it under a lock that the system releases when the process dies.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dlzoo.errors import UserError
from dlzoo.utils.archives import ZIP_FAILURES
from dlzoo.utils.http import MirrorError, MirrorUnreachable, RetryPolicy, Transfer, open_without_links
from dlzoo.utils.output import note

if TYPE_CHECKING:
    from typing_extensions import Buffer

RETRY_POLICY = RetryPolicy()

MAX_DOWNLOAD_BYTES = 4 << 30
"""Default size limit of a download; pretrained weights are the largest files."""


def folder_of(data_dir: str | os.PathLike[str], *parts: str) -> Path:
    """An absolute path below ``data_dir``, which may be relative or start with ``~``."""
    return Path(os.path.abspath(Path(data_dir).expanduser())).joinpath(*parts)


def mirrors_of(given: str | Sequence[str] | None, default: Sequence[str]) -> tuple[str, ...]:
    """The base URLs to download from: those that the option ``mirrors`` gives, one or several, else the default ones.

    >>> mirrors_of("http://localhost", ["http://example.org"]), mirrors_of(None, ["http://example.org"])
    (('http://localhost',), ('http://example.org',))
    """
    if given is None:
        return tuple(default)
    return (given,) if isinstance(given, str) else tuple(given)


def find(folder: Path, *names: str) -> Path | None:
    """The first of these files that exists in the folder.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        return next((path for name in names if (path := folder / name).is_file()), None)
    except OSError as error:
        raise UserError(f"data_dir: {folder} cannot be read ({error.strerror})") from None


def read_bytes(path: Path) -> bytes:
    """The content of a file; `UserError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"data_dir: {path} cannot be read ({error.strerror})") from None


def zip_members(archive: Path, names: Sequence[str], *, max_bytes: int) -> dict[str, bytes]:
    """The contents of files in a downloaded zip archive by name.

    Args:
        names: as the paths of the files end, whatever folder of the archive they are in.
        max_bytes: limit of each.

    Raises:
        UserError: the archive is damaged, encrypted or compressed in an unknown way, or a file is missing or too large.
    """
    depths = {name.count("/") + 1 for name in names}
    try:
        with zipfile.ZipFile(archive) as file:
            members: dict[str, zipfile.ZipInfo] = {}
            for info in file.infolist():
                parts = info.filename.split("/")
                for depth in depths:
                    members.setdefault("/".join(parts[-depth:]), info)
            if missing := [name for name in names if name not in members]:
                raise damaged(archive, f"{missing[0]} is not in it")
            if large := [name for name in names if members[name].file_size > max_bytes]:
                raise damaged(
                    archive,
                    f"{large[0]} in it has {members[large[0]].file_size:,} bytes, far more than the published one",
                )
            return {name: file.read(members[name]) for name in names}
    except UserError:
        raise
    except ZIP_FAILURES as error:
        raise damaged(archive, f"{error}".rstrip(".") or type(error).__name__) from None


class LimitedGzip(io.RawIOBase):
    """A decompressed gzip file as a stream that raises an error beyond a size limit (a gzip bomb).

    Args:
        max_bytes: size limit of the decompressed data.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.left = max_bytes
        self.file = gzip.open(path)  # noqa: SIM115  # closed with this stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        content = self.file.read(min(len(view), 1 << 20))
        self.left -= len(content)
        if self.left < 0:
            raise damaged(self.path, "it decompresses to far more than the published file")
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self.file.close()
        super().close()


def check_md5(content: bytes, md5: str, path: Path) -> None:
    """Check that content is that of the published file.

    Raises:
        UserError: it is not; names the file and what to do about it.
    """
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise damaged(path, "its checksum does not match the published one")


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file that exists but must not be used."""
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
    max_bytes: int = MAX_DOWNLOAD_BYTES,
) -> Path:
    """Download a file into a folder, from the first mirror that delivers it intact.

    Args:
        md5: the published checksum; alternatively ``sha256``, of which a prefix is enough.
        mirrors: base URLs; ``name`` is appended.
        key: the option or environment variable that sets the folder.
        instead: an alternative for the user, as part of an error message.
        max_bytes: size limit of the file.

    Raises:
        UserError: no mirror delivered it, or the folder cannot be written.
    """
    refuse = f"{name} cannot be stored in {folder} (%s): choose another {key}, or {instead}"
    path, part = folder / name, folder / f".{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(refuse % "no write permission")
        with _download_lock(path):
            if not path.is_file():  # otherwise it arrived while this process waited
                note(f"downloading {name} to {folder}")
                hint = f"Put it into {folder} yourself (set by {key}), or {instead}"
                _fetch(name, md5 or sha256, "md5" if md5 else "sha256", part, mirrors, hint, max_bytes)
                os.replace(part, path)
    except (FileExistsError, NotADirectoryError):
        raise UserError(refuse % "it is a file, or inside one") from None
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()  # the disk may be full
        raise UserError(refuse % (error.strerror or error)) from None
    return path


def _fetch(
    name: str, checksum: str, algorithm: str, part: Path, mirrors: Sequence[str], hint: str, max_bytes: int
) -> None:
    """Download the valid file into ``part``. Mirrors that failed to respond are retried if they failed quickly."""

    def is_valid() -> bool:
        with open(part, "rb", opener=open_without_links) as file:
            return hashlib.file_digest(file, algorithm).hexdigest().startswith(checksum)

    if part.is_symlink() or (part.exists() and part.stat().st_size > max_bytes):
        part.unlink()
    if part.exists() and is_valid():
        return  # the process that downloaded it died before renaming it
    started, rounds = time.monotonic(), 0
    failures: dict[str, MirrorError] = {}
    remaining = [*mirrors]
    while remaining:
        for mirror in [*remaining]:
            try:
                Transfer(f"{mirror.rstrip('/')}/{name}", part, is_valid, RETRY_POLICY, max_bytes).run()
                return
            except MirrorError as failure:
                failures[mirror] = failure
                if not isinstance(failure, MirrorUnreachable):
                    remaining.remove(mirror)
        rounds += 1
        pause = RETRY_POLICY.pause(rounds)
        if time.monotonic() + pause - started > RETRY_POLICY.offline / 2:
            break
        time.sleep(pause)
    reasons = "; ".join(f"{urlsplit(mirror).netloc or mirror}: {reason}" for mirror, reason in failures.items())
    kept = f" {part.stat().st_size / 1e6:,.1f} MB were downloaded and are kept." if part.exists() else ""
    raise UserError(f"{name} could not be downloaded ({reasons or 'data.mirrors is empty'}).{kept} {hint}")


@contextlib.contextmanager
def _download_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file; a process that has to wait prints so."""
    import filelock

    place = path.with_name(f".{path.name}.lock")
    lock = filelock.FileLock(place)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        note(f"waiting for another process to download {path.name}")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)  # filelock notices that the file it locked was unlinked, and retries
        lock.release()
