"""Durable files: written atomically, flushed to disk before they get their name, and with a digest to detect damage.

They are zip archives as written by `torch.save` and `numpy.savez`. Their CRCs are not enough: `torch.load` does not
check them, and flipped bits in the archive's directory, which no CRC covers, can make PyTorch read out of bounds. So
the archive's comment holds a digest of everything before it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import lzma
import os
import re
import secrets
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dlzoo.errors import UserError

END = b"PK\x05\x06"
"""Magic number of the last record of an archive: 22 bytes, of which the last two are the length of the comment."""
LAST_RECORD = struct.Struct("<4s8xIIH")
"""Magic number, the directory's size and its offset, the length of the comment."""
END_64, END_64_LOCATOR = b"PK\x06\x06", b"PK\x06\x07"
"""The same with 64 bits, in front of the last record, and the record between both that says where it is."""
LAST_RECORD_64, LOCATOR = struct.Struct("<4s36xQQ"), struct.Struct("<4s4xQ4x")
MAGIC = b"PK\x03\x04"
"""The first bytes of an archive; PyTorch reads any other file in its old format."""
DIGEST = b"sha256:%s"
DIGEST_LENGTH = len(DIGEST % (b"0" * 64))

ZIP_FAILURES = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError, LookupError,
    OverflowError, struct.error,
)  # fmt: skip
"""What `zipfile` raises for an archive that is damaged, encrypted, or compressed in a way that it does not know."""
HEADER_FAILURES = (tokenize.TokenError, SyntaxError)
"""What NumPy raises for the header of an array that is no Python, besides `ValueError`."""

DISK_FULL = {errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set())  # not on Windows
NEW_FILE = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)  # Windows has neither
    | getattr(os, "O_BINARY", 0)  # only Windows has this
)
"""Flags with which a new file is created: through no link, for this process alone, without translating line ends."""
NO_PERMISSION = {errno.EROFS, errno.EACCES, errno.EPERM}


class Damaged(UserError):
    """A file that is corrupted; ``reason`` says how."""

    def __init__(self, path: Path, reason: str) -> None:
        before = previous_path(path)
        hint = f"; the previous checkpoint is {before}" if before.is_file() else ""
        super().__init__(f"ckpt={path} is {reason}{hint}")
        self.reason = reason


def write_error(path: Path | str, error: OSError) -> UserError:
    """The error to report for a file or folder that could not be written."""
    return UserError(
        f"{path} could not be written: {error.strerror or error}. Everything saved before is intact: free up "
        "space and resume with the same command and resume=auto, or choose another location with output_dir"
    )


def write_failure(error: BaseException | None, folder: Path) -> OSError | None:
    """The operating system's error, if the cause is a full disk or a lack of permission to write to ``folder``."""
    cause = os_error(error)
    if cause is None or cause.errno in DISK_FULL:
        return cause
    inside = cause.filename is not None and Path(cause.filename).resolve().is_relative_to(folder.resolve())
    return cause if cause.errno in NO_PERMISSION and inside else None


def os_error(error: BaseException | None) -> OSError | None:
    """The operating system's error behind an error; PyTorch raises its own while handling it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def previous_path(path: Path) -> Path:
    """``last.previous.ckpt`` for ``last.ckpt``."""
    return path.parent / f"{path.stem}.previous{path.suffix}"


def write(path: Path, save: Callable[[BinaryIO], object], *, keep: bool = False) -> None:
    """Write a file through ``save``, atomically: at any moment ``path`` is the complete old or new file.

    Args:
        keep: keep the old file under the name `previous_path` gives.
    """
    with temporary_file(path) as (temporary, file):
        save(file)
        append_digest(file)
        file.flush()
        os.fsync(file.fileno())
        file.close()  # Windows renames no open file
        if keep:
            keep_previous(path)
        os.replace(temporary, path)
    sync(path.parent)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file next to ``path`` with an unpredictable name; it is deleted if the block raises.

    Anyone who may write to the folder could place a symlink there, so links are not followed.
    """
    temporary = temporary_path(path)
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | NEW_FILE, 0o666)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield temporary, file
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def keep_previous(path: Path) -> None:
    """Hard-link the file to a second name, so that it survives when the first name is replaced."""
    before, link = previous_path(path), temporary_path(previous_path(path))
    try:
        os.link(path, link)
        os.replace(link, before)
    except OSError:
        os.replace(path, before)  # no hard links on this file system: briefly, only the previous file exists
    finally:
        link.unlink(missing_ok=True)  # it remains if both names are the same file already


def temporary_path(path: Path) -> Path:
    """An unpredictable name next to ``path`` that contains the process id, for `remove_stale`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{os.getpid()}.tmp")


def remove_stale(path: Path) -> None:
    """Delete temporary files that killed processes left for this file and others with the same stem."""
    pattern = re.compile(rf"\.{re.escape(path.stem)}\..+\.(\d+)\.tmp")
    for other in path.parent.iterdir():
        match = pattern.fullmatch(other.name)
        if match and not is_alive(int(match[1])):
            other.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number. Signal 0 would end it on Windows."""
    import psutil

    try:
        return psutil.pid_exists(pid)
    except OverflowError:
        return True


def sync(folder: Path) -> None:
    """Flush a folder's directory entries to disk. Windows, which cannot open a folder, does so itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_digest(file: BinaryIO) -> None:
    """Append the digest to an archive that was just written."""
    file.seek(-22, os.SEEK_END)
    end = file.read()
    assert (end[:4], end[-2:]) == (END, b"\0\0"), "an archive without a comment"
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", DIGEST_LENGTH))
    digest = digest_of(file, file.tell())
    file.write(DIGEST % digest.encode())


def check(path: Path) -> None:
    """Verify a file's digest, or its CRCs if it has none (written by an older version or another program).

    Raises:
        Damaged: it is corrupted, or not an archive.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:  # to zipfile, anything that ends like an archive is one
                raise Damaged(path, "cut off, damaged or not a checkpoint")
            num_bytes, digest = stored_digest(file)
            if num_bytes and DIGEST % digest_of(file, num_bytes).encode() != digest:
                raise Damaged(path, "damaged: its digest does not match")
        with zipfile.ZipFile(path) as archive:
            # The digest only proves that the file is as its last author left it, not that it is harmless.
            bad = suspicious_entry(archive, path) or (None if num_bytes else archive.testzip())
    except zipfile.BadZipFile:
        raise Damaged(path, "cut off, damaged or not a checkpoint") from None
    except OSError as error:
        raise Damaged(path, f"not readable: {error.strerror}") from None
    except UserError:
        raise
    except (ValueError, EOFError, RuntimeError) as error:
        raise Damaged(path, f"damaged: {error}") from None
    if bad is not None:
        raise Damaged(path, f"damaged: its entry {bad} is corrupted")


def suspicious_entry(archive: zipfile.ZipFile, path: Path) -> str | None:
    """An entry that neither PyTorch nor NumPy writes: compressed, a folder, or claiming more bytes than the file has.

    Such a zip bomb of a megabyte can expand to more than a machine's memory.

    Raises:
        zipfile.BadZipFile: other readers may find other entries.
    """
    with path.open("rb") as file:
        if not has_one_directory(file):
            raise zipfile.BadZipFile
    entries, size = archive.infolist(), path.stat().st_size
    for e in entries:
        if e.compress_type or e.external_attr & 0x10 or e.file_size != e.compress_size:
            return e.filename
    return entries[0].filename if sum(entry.file_size for entry in entries) > size else None


def is_suspicious(path: Path) -> bool:
    """Whether a file is an archive with such an entry, or with several directories; False if it is not an archive."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return not has_one_directory(file) or suspicious_entry(archive, path) is not None
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        return False


def has_one_directory(file: BinaryIO) -> bool:
    """Whether an archive's directory ends where its last records begin, and they end the file, but for the digest.

    Python reads the directory in front of the last records, and PyTorch the one at the offset that they name. So one
    archive can hold a harmless directory for Python's checks, and another, of compressed entries, for PyTorch.
    """
    end = (stored_digest(file)[0] or file.seek(0, os.SEEK_END)) - LAST_RECORD.size
    if end < 0:
        return False
    magic, size, offset, _ = LAST_RECORD.unpack(_bytes_at(file, end, LAST_RECORD.size))
    if magic != END:
        return False
    if end >= LOCATOR.size + LAST_RECORD_64.size:  # those of 64 bits, which PyTorch always writes
        magic, position = LOCATOR.unpack(_bytes_at(file, end - LOCATOR.size, LOCATOR.size))
        if magic == END_64_LOCATOR:
            end -= LOCATOR.size + LAST_RECORD_64.size
            magic, size, offset = LAST_RECORD_64.unpack(_bytes_at(file, end, LAST_RECORD_64.size))
            if (magic, position) != (END_64, end):
                return False
    return offset + size == end


def _bytes_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def stored_digest(file: BinaryIO) -> tuple[int, bytes]:
    """The number of bytes that the digest covers, and the digest; (0, b"") if there is none."""
    size = file.seek(0, os.SEEK_END) - DIGEST_LENGTH
    if size <= 22:
        return 0, b""
    file.seek(size)
    stored = file.read()
    return (size, stored) if stored.startswith(DIGEST % b"") else (0, b"")


def digest_of(file: BinaryIO, size: int) -> str:
    """Digest of the first ``size`` bytes of a file, whose position is then there."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()
