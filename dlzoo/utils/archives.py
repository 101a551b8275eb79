"""Files that survive: written whole or not at all, on the disk before they have their name, and that notice damage.

They are zip archives, as `torch.save` and `numpy.savez` write them. Their CRCs are not enough: `torch.load` does not
compare them, and there are bits in the archive's directory that no CRC covers and that make PyTorch read other memory
than the file's. So the archive's comment holds a digest of everything before it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dlzoo.errors import UserError

END = b"PK\x05\x06"
"""How the last record of an archive begins: 22 bytes, of which the last two are the length of the comment."""
SEAL = b"sha256:%s"
SEAL_LENGTH = len(SEAL % (b"0" * 64))

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


class Damaged(UserError):
    """A file that is not what was written; ``reason`` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        before = previous_of(path)
        hint = f"; the one before it is {before}" if before.is_file() else ""
        super().__init__(f"ckpt={path} is {reason}{hint}")
        self.reason = reason


def unwritten(path: Path | str, error: OSError) -> UserError:
    """What to say of a file or folder that could not be written."""
    return UserError(
        f"{path} could not be written: {error.strerror or error}. What was saved before stays as it was: make room, "
        "and the same command with resume=auto goes on from there; or choose another place with output_dir"
    )


def refusal(error: BaseException | None, folder: Path) -> OSError | None:
    """What the operating system said, if an error comes from a full disk or from not being let write to ``folder``."""
    cause = os_error(error)
    if cause is None or cause.errno in NO_ROOM:
        return cause
    inside = cause.filename is not None and Path(cause.filename).resolve().is_relative_to(folder.resolve())
    return cause if cause.errno in REFUSED and inside else None


def os_error(error: BaseException | None) -> OSError | None:
    """What the operating system said: PyTorch raises an error of its own while it handles that one."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def previous_of(path: Path) -> Path:
    """``last.previous.ckpt`` for ``last.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write(path: Path, save: Callable[[BinaryIO], Any], *, keep: bool = False) -> None:
    """Let ``save`` write a file; at every moment ``path`` is the old one or the new one, and both are whole.

    Args:
        keep: the old one stays as `previous_of` it.
    """
    with temporary_file(path) as (temporary, file):
        save(file)
        seal(file)
        file.flush()
        os.fsync(file.fileno())
        if keep:
            keep_previous(path)
        os.replace(temporary, path)
    sync(path.parent)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``path``, with a name that nobody can foresee; it is gone if an error leaves the block.

    Who may write into the folder could put a link where the file is to be; a link is not followed.
    """
    temporary = temporary_of(path)
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield temporary, file
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def keep_previous(path: Path) -> None:
    """A second name for the file, so that it stays when the first one goes to another."""
    before, link = previous_of(path), temporary_of(previous_of(path))
    try:
        os.link(path, link)
        os.replace(link, before)
    except OSError:
        os.replace(path, before)  # no hard links on this file system: for a moment there is only the previous one
    finally:
        link.unlink(missing_ok=True)  # it stays if both are names of one file already


def temporary_of(path: Path) -> Path:
    """A name beside ``path`` that tells `remove_stale` whose it is, and that nobody can foresee."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{os.getpid()}.tmp")


def remove_stale(path: Path) -> None:
    """What processes that were killed have left of this file, and of others with the same stem."""
    pattern = re.compile(rf"\.{re.escape(path.stem)}\..+\.(\d+)\.tmp")
    for other in path.parent.iterdir():
        found = pattern.fullmatch(other.name)
        if found and not is_alive(int(found[1])):
            other.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def sync(folder: Path) -> None:
    """The names in a folder reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(file: BinaryIO) -> None:
    """Add the digest to an archive that was just written."""
    file.seek(-22, os.SEEK_END)
    end = file.read()
    assert (end[:4], end[-2:]) == (END, b"\0\0"), "an archive without a comment"
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", SEAL_LENGTH))
    digest = digest_of(file, file.tell())
    file.write(SEAL % digest.encode())


def check(path: Path) -> None:
    """Compare a file with its digest; one without, of an older version or of others, with its CRCs.

    Raises:
        Damaged: it is not what was written, or no archive at all.
    """
    try:
        with path.open("rb") as file:
            sealed, digest = stored_seal(file)
            if sealed and SEAL % digest_of(file, sealed).encode() != digest:
                raise Damaged(path, "damaged: it is not what its digest says")
        with zipfile.ZipFile(path) as archive:
            # A digest says only that the file is as its last author left it.
            bad = packed_part(archive, path) or (None if sealed else archive.testzip())
    except zipfile.BadZipFile:
        raise Damaged(path, "cut off, damaged or not a checkpoint") from None
    except OSError as error:
        raise Damaged(path, f"not readable: {error.strerror}") from None
    except UserError:
        raise
    except (ValueError, EOFError, RuntimeError) as error:
        raise Damaged(path, f"damaged: {error}") from None
    if bad is not None:
        raise Damaged(path, f"damaged: its part {bad} is not what was written")


def packed_part(archive: zipfile.ZipFile, path: Path) -> str | None:
    """A part that neither PyTorch nor NumPy writes: compressed, a folder, or standing for more bytes than there are.

    A megabyte of them can be more than a machine's memory.
    """
    entries, size = archive.infolist(), path.stat().st_size
    odd = (e.filename for e in entries if e.compress_type or e.external_attr & 0x10 or e.file_size != e.compress_size)
    if (first := next(odd, None)) is not None:
        return first
    return entries[0].filename if sum(entry.file_size for entry in entries) > size else None


def is_packed(path: Path) -> bool:
    """Whether a file is an archive with such a part; one that is no archive is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return packed_part(archive, path) is not None
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        return False


def stored_seal(file: BinaryIO) -> tuple[int, bytes]:
    """How many bytes the digest is of, and the digest; (0, nothing) where there is none."""
    size = file.seek(0, os.SEEK_END) - SEAL_LENGTH
    if size <= 22:
        return 0, b""
    file.seek(size)
    stored = file.read()
    return (size, stored) if stored.startswith(SEAL % b"") else (0, b"")


def digest_of(file: BinaryIO, size: int) -> str:
    """Of the first bytes of a file, which is then read up to there."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()
