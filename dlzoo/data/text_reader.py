"""The text of a user's file, or in words why its bytes are none."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from pathlib import Path
from typing import Any

from dlzoo.errors import UserError

MOST_BYTES = 1 << 30
"""Of a packed file when it is unpacked, or 50 times its size: a few kilobytes can be more than a machine holds."""

OPEN: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
KINDS = {
    b"PK\x03\x04": "a ZIP file (or a spreadsheet): save it as text",
    b"\x1f\x8b": "packed by gzip: let its name end in .gz",
    b"BZh": "packed by bzip2: let its name end in .bz2",
    b"\xfd7zXZ": "packed by xz: let its name end in .xz",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF file",
}
"""How files begin that are taken for text."""


def read_text(source: Path | str | io.BytesIO, encoding: str = "utf-8-sig", key: str = "data.encoding") -> str:
    """The whole of a text file; one whose name ends in .gz, .bz2 or .xz is unpacked.

    Raises:
        UserError: the file cannot be read, or is no text of this encoding; ``key`` is the option to change.
    """
    return decode(content_of(source), encoding, source, key)


def decode(content: bytes, encoding: str, source: object, key: str = "data.encoding") -> str:
    """Bytes as text; `UserError` names the line and the byte that are none."""
    name = encoding.removesuffix("-sig")
    kind = next((kind for start, kind in KINDS.items() if content.startswith(start)), None)
    if kind is not None:
        raise UserError(f"{source} is no text but {kind}")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before, byte = content[: error.start], content[error.start]
        where = f"line {before.count(10) + 1}, byte {error.start} is {byte:#04x}"
        raise UserError(f"{source} is not {name} text ({where}); set {key}={_likely(content)}") from None
    except LookupError:
        raise UserError(f"{key}={encoding}: Python knows no such encoding; common are utf-8, latin-1") from None
    except ValueError as error:  # UnicodeError is one
        raise UserError(f"{source} is not {name} text ({error}); change {key}") from None
    if half := re.search("[\ud800-\udfff]", text):
        raise UserError(f"{source} is not {name} text (it holds {half[0]!r}, half of a character); change {key}")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        likely = _likely(content)
        hint = f"set {key}={likely}" if likely.startswith("utf-16") else "is it a text file at all?"
        raise UserError(f"{source} holds a zero byte in line {line}, which is no text; {hint}")
    return text


def _likely(content: bytes) -> str:
    """The encoding to try."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = content[:1000]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) > len(start) / 5 > 2 * min(even, odd):  # every other byte of Latin letters is zero
        return "utf-16-be" if even > odd else "utf-16-le"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def content_of(source: Path | str | io.BytesIO) -> bytes:
    """The bytes of a file, unpacked; `UserError` if it cannot be read."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()
    path = Path(source)
    try:
        if path.suffix.lower() not in OPEN:
            return path.read_bytes()
        with OPEN[path.suffix.lower()](path) as file:
            limit = max(MOST_BYTES, 50 * path.stat().st_size)
            content = file.read(limit + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{source} cannot be read: {reason}") from None
    if len(content) > limit:
        raise UserError(
            f"{source} ({path.stat().st_size:,} bytes) unpacks to more than {limit:,} bytes: unpack it yourself if "
            "it is to be trusted"
        )
    return content
