"""Files of word vectors: word2vec's text and binary formats, and GloVe's, which is the text format without its header.

The header is a line with the number of words and the dimension. In text a word and its values stand on a line,
separated by spaces; in binary a space ends the word, and its values follow as little-endian float32.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dlzoo.errors import UserError, short
from dlzoo.utils.files import open_regular, write

if TYPE_CHECKING:
    import numpy as np

HEADER = re.compile(rb"(\d{1,12})[ \t]+(\d{1,12})\s*\n")
MAX_LINE = 1 << 20
"""Bytes of a word with its values."""
MAX_DIMENSION = 100_000
BOM = b"\xef\xbb\xbf"
COMPRESSED = re.compile(rb"\x1f\x8b|PK\x03\x04|BZh[1-9]1AY&SY|\xfd7zXZ")
"""How files of gzip, zip, bzip2 and xz begin."""


def read(path: Path, key: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, np.ndarray, str]]:
    """The wanted words with their vectors (D,) float32, and where each stands, for messages.

    Words may contain spaces, as a few of GloVe's do, and may be repeated.

    Args:
        key: the option that gave the file.

    Raises:
        UserError: it cannot be read, or is no such file.
    """
    where = f"{key}={path}"
    try:
        with open_regular(path) as file:
            start = file.read(4096)
            if COMPRESSED.match(start):
                raise UserError(f"{where} is compressed: unpack it first")
            skipped = len(BOM) if start.startswith(BOM) else 0
            header = HEADER.match(start, skipped)
            if header is None:
                file.seek(skipped)
                yield from _read_text(file, where, is_wanted, 1)
                return
            file.seek(header.end())
            num, dimension = int(header[1]), int(header[2])
            if not 1 <= dimension <= MAX_DIMENSION:
                raise UserError(
                    f"{where}: vectors of {dimension:,} values; a dimension must be from 1 to {MAX_DIMENSION:,}"
                )
            if _is_text(start[header.end() :], dimension):
                yield from _read_text(file, where, is_wanted, 2, num, dimension)
            else:
                yield from _read_binary(file, where, is_wanted, num, dimension)
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror})") from None


def _is_text(content: bytes, dimension: int) -> bool:
    """Whether the part of a file behind its header is text, judged by its first values."""
    first = content.partition(b" ")[2][: 16 * min(dimension, 8)]
    return bool(re.fullmatch(rb"[\s\x21-\x7e]*", first))


def _read_text(
    file: BinaryIO,
    where: str,
    is_wanted: Callable[[str], bool],
    first: int,
    num: int | None = None,
    dimension: int | None = None,
) -> Iterator[tuple[str, np.ndarray, str]]:
    """
    Args:
        first: the number of the first line of a word.
        num, dimension: as the header says; None: there is none, the first word has as many values as all.
    """
    found, source = 0, "the first word" if dimension is None else "the header"
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), first):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise UserError(f"{where}, line {number:,} is longer than {MAX_LINE:,} bytes: it is no file of vectors")
        if not line.strip():
            continue
        found += 1
        if num is not None and found > num:
            raise UserError(f"{where}, line {number:,}: the header says {num:,} words, but there are more; correct it")
        place = f"{where}, line {number:,}"
        if dimension is None:
            dimension = max(len(line.split()) - 1, 1)
        word = line.partition(b" ")[0].decode("utf-8", errors="replace")
        if not is_wanted(word):
            continue
        name, *values = line.rstrip().rsplit(None, dimension)
        more = sum(map(_is_number, name.split()[1:]))
        if len(values) < dimension or more:
            given = f"it has {len(values) + more} values, but {source} has {dimension}" if values else "it has none"
            raise UserError(f"{place}: expected a token and numbers, separated by spaces; {given}")
        whole = name.decode("utf-8", errors="replace")
        if whole == word or is_wanted(whole):
            yield whole, _vector(values, place), place
    if num is not None and found < num:
        raise UserError(
            f"{where} ends after {found:,} words, but its header says {num:,}: it is cut off, or correct it"
        )


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _vector(values: Sequence[bytes], place: str) -> np.ndarray:
    import numpy as np

    try:
        with np.errstate(over="ignore"):
            vector = np.array([*map(float, values)], np.float32)
    except ValueError:
        raise UserError(f"{place}: expected a token and numbers, separated by spaces") from None
    return _finite(vector, place)


def _finite(vector: np.ndarray, place: str) -> np.ndarray:
    import numpy as np

    if not np.isfinite(vector).all():
        raise UserError(f"{place}: a value is not finite")
    return vector


def _read_binary(
    file: BinaryIO, where: str, is_wanted: Callable[[str], bool], num: int, dimension: int
) -> Iterator[tuple[str, np.ndarray, str]]:
    import numpy as np

    reader = io.BufferedReader(file, 1 << 20)  # type: ignore[type-var]  # a raw file reads as well
    try:
        for number in range(1, num + 1):
            name = bytearray()
            while (char := reader.read(1)) not in (b" ", b""):
                name += char
                if len(name) > MAX_LINE:
                    break
            content = reader.read(4 * dimension)
            if char != b" " or len(content) != 4 * dimension:
                raise UserError(f"{where}, word {number:,}: the file ends, or it is not word2vec's binary format")
            word = name.decode("utf-8", errors="replace").strip()
            if is_wanted(word):
                place = f"{where}, word {number:,}"
                yield word, _finite(np.frombuffer(content, "<f4").astype(np.float32), place), place
        if reader.read(4096).strip():
            raise UserError(f"{where}: the header says {num:,} words, but more follows; correct it")
    finally:
        reader.detach()


def save(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    """Write words and their vectors (V, D): in binary if the extension is .bin, else as text; without a header if it
    is .glove.

    Raises:
        UserError: a word that the format cannot hold.
    """
    for word in words:
        if not word or any(char.isspace() for char in word):
            raise UserError(f"{short(word)!r} has a space or is empty, which files of word vectors cannot hold")
    suffix, content = path.suffix.lower(), io.BytesIO()
    if suffix != ".glove":
        content.write(f"{len(words)} {vectors.shape[1]}\n".encode())
    for word, vector in zip(words, vectors, strict=True):
        name = word.encode("utf-8", errors="replace") + b" "
        if suffix == ".bin":
            content.write(name + vector.astype("<f4").tobytes() + b"\n")
        else:
            content.write(name + " ".join(map("{:.9g}".format, vector.tolist())).encode() + b"\n")
    if suffix == ".glove" and HEADER.match(content.getbuffer()[:100]):
        raise UserError(f"{path}: its first line would be read as a header; choose another extension, such as .txt")
    write(path, content.getvalue())
