"""Image files on the disk, and those in a zip archive."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from dataclasses import dataclass


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


File = str | ZipMember


def opened(file: File | io.BytesIO) -> str | io.BytesIO:
    """What Pillow can open; standard input has been read already."""
    return io.BytesIO(file.read()) if isinstance(file, ZipMember) else file


def size_of(file: File) -> int:
    """In bytes; -1 if it no longer exists, which is reported when it is to be decoded."""
    if isinstance(file, ZipMember):
        return file.size
    try:
        return os.stat(file).st_size
    except OSError:
        return -1
