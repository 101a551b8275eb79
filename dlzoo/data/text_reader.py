"""Reading text files of the user, with errors that explain why a file is not valid text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from dlzoo.errors import UserError
from dlzoo.utils.files import open_regular

MAX_BYTES = 1 << 30
"""Of what a table unpacks to, or 50 times its size if larger: a few kilobytes can expand to more than memory."""
MAX_TEXT_BYTES = 1 << 26
"""Likewise of a decompressed text, whose lines and words take far more memory than its bytes."""

DECOMPRESSORS: dict[str, Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
SIGNATURES = {
    b"PK\x03\x04": "a ZIP file (or a spreadsheet): save it as text",
    b"\x1f\x8b": "gzip-compressed: its name must end in .gz",
    b"BZh": "bzip2-compressed: its name must end in .bz2",
    b"\xfd7zXZ": "xz-compressed: its name must end in .xz",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF file",
}
"""First bytes of files that are sometimes mistaken for text."""


def read_text(source: Path | str | io.BytesIO, encoding: str = "utf-8-sig", key: str = "data.encoding") -> str:
    """The content of a text file, decompressed if its name ends in .gz, .bz2 or .xz.

    Raises:
        UserError: the file cannot be read, or is not text in this encoding; ``key`` is the option to change.
    """
    return decode(content_of(source), encoding, source, key)


def decode(content: bytes, encoding: str, source: object, key: str = "data.encoding") -> str:
    """Bytes as text.

    Raises:
        UserError: names the line and the byte that cannot be decoded.
    """
    name = encoding.removesuffix("-sig")
    kind = next((kind for start, kind in SIGNATURES.items() if content.startswith(start)), None)
    if kind is not None:
        raise UserError(f"{source} is not a text file but {kind}")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before, byte = content[: error.start], content[error.start]
        where = f"line {before.count(10) + 1}, byte {error.start} is {byte:#04x}"
        if name in ("utf-8", "utf8") and _is_mixed(content):
            raise UserError(
                f"{source} mixes encodings ({where}, which is not utf-8, but other lines are): save it all as utf-8"
            ) from None
        raise UserError(f"{source} is not {name} text ({where}); set {key}={_likely(content)}") from None
    except LookupError:
        raise UserError(f"{key}={encoding}: unknown to Python; common encodings are utf-8, latin-1") from None
    except ValueError as error:  # includes UnicodeError
        raise UserError(f"{source} is not {name} text ({error}); change {key}") from None
    if half := re.search("[\ud800-\udfff]", text):
        raise UserError(
            f"{source} is not {name} text (it contains {half[0]!r}, half of a surrogate pair); change {key}"
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        likely = _likely(content)
        hint = f"set {key}={likely}" if likely.startswith("utf-16") else "is it a text file?"
        raise UserError(f"{source} contains a null byte in line {line}, so it is not {name} text; {hint}")
    return text


def with_line_feeds(text: str) -> str:
    """Text whose lines end with a line feed alone, as Unix writes them.

    >>> with_line_feeds("a\\r\\nb\\rc\\n")
    'a\\nb\\nc\\n'
    """
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _is_mixed(content: bytes) -> bool:
    """Whether some letters beyond ASCII are UTF-8 and no more bytes are not: no other encoding looks like that.

    >>> _is_mixed("é".encode() + b" \\xf1"), _is_mixed("é ñ".encode("latin-1"))
    (True, False)
    """
    text = content.decode("utf-8", "surrogateescape")
    num_invalid = len(re.findall("[\udc80-\udcff]", text))
    return len(re.findall("[^\0-\x7f\udc80-\udcff]", text)) >= num_invalid > 0


def _likely(content: bytes) -> str:
    """The encoding to suggest."""
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
    """The bytes of a file, decompressed; `UserError` if it cannot be read."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()
    path = Path(source)
    try:
        if path.suffix.lower() not in DECOMPRESSORS:
            with open_regular(path) as file:
                return file.read()
        with open_regular(path) as packed, DECOMPRESSORS[path.suffix.lower()](packed) as file:
            limit = max(MAX_TEXT_BYTES, 50 * path.stat().st_size)
            content = file.read(limit + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{source} cannot be read: {reason}") from None
    if len(content) > limit:
        raise UserError(
            f"{source} ({path.stat().st_size:,} bytes) decompresses to more than {limit:,} bytes: if you trust "
            "it, decompress it yourself"
        )
    return content
