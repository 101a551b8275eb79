"""Image files on the disk, those in a zip archive, and those in the files of a saved data set of Hugging Face."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlzoo.utils.files import open_regular


@dataclass(frozen=True)
class ZipMember:
    """A file in a zip archive, which any thread or process can read by itself."""

    archive: str
    name: str
    offset: int
    """Of its local header."""
    compressed_size: int
    size: int
    method: int
    crc: int

    def __str__(self) -> str:
        return os.path.join(self.archive, self.name)

    def read(self) -> bytes:
        """`ValueError` if it is damaged."""
        with open(self.archive, "rb") as file:
            file.seek(self.offset)
            header = file.read(30)  # its last four bytes: the lengths of the name and of the extra field
            file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
            content = file.read(self.compressed_size)
        if self.method == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self.size + 1)
            except zlib.error as error:
                raise ValueError(f"the archive is damaged: {error}") from None
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise ValueError("the archive is damaged: its checksum differs")
        return content


@dataclass(frozen=True)
class StoredImage:
    """An encoded image in a row of a saved data set, which any thread or process can read by itself."""

    name: str
    """For messages: split, class and row as a path, which nothing on the disk has."""
    file: str
    """An Arrow file, or an image file."""
    offset: int
    size: int
    digest: str
    """Of the content."""

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        """`ValueError` if the file has changed."""
        with open_regular(Path(self.file)) as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) != self.size:
            raise ValueError(f"{self.file} is shorter than before")
        return content


File = str | ZipMember | StoredImage

LARGE_BYTES = 64 << 20
"""Larger files in archives, which are decompressed as a whole, are read one at a time."""

_lock = threading.RLock()


@contextlib.contextmanager
def one_at_a_time(is_large: bool) -> Iterator[None]:
    """Only one thread at a time is in the block if what it handles is large."""
    with _lock if is_large else contextlib.nullcontext():
        yield


def alone_if_large(file: File | io.BytesIO) -> contextlib.AbstractContextManager[None]:
    """For the time in which a file of an archive is in memory."""
    return one_at_a_time(isinstance(file, ZipMember | StoredImage) and file.size > LARGE_BYTES)


def opened(file: File | io.BytesIO) -> str | io.BytesIO:
    """What Pillow can open; standard input has been read already."""
    return io.BytesIO(file.read()) if isinstance(file, ZipMember | StoredImage) else file


def identity_of(file: File, folder: str) -> str:
    """What identifies an image of a class, in whatever split it is: name and size, or the content of one without name.

    Args:
        folder: of its class, with a separator at the end.
    """
    return file.digest if isinstance(file, StoredImage) else f"{str(file).removeprefix(folder)} {size_of(file)}"


def size_of(file: File) -> int:
    """In bytes; -1 if it no longer exists, which is reported when it is to be decoded."""
    if isinstance(file, ZipMember | StoredImage):
        return file.size
    try:
        return os.stat(file).st_size
    except OSError:
        return -1
