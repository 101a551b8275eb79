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

HEADER = re.compile(rb"(\d{1,12}) (\d{1,12})\s*\n")
MAX_LINE = 1 << 20
"""Bytes of a word with its values."""
MAX_DIMENSION = 100_000
GZIP = b"\x1f\x8b"


def read(path: Path, key: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, np.ndarray, str]]:
    """The wanted words with their vectors (D,) float32, and where each stands, for messages.

    Args:
        key: the option that gave the file.

    Raises:
        UserError: it cannot be read, or is no such file.
    """
    where = f"{key}={path}"
    try:
        with open_regular(path) as file:
            start = file.read(4096)
            if start.startswith(GZIP):
                raise UserError(f"{where} is compressed: unpack it first")
            header = HEADER.match(start)
            file.seek(0)
            if header is None:
                yield from _read_text(file, where, is_wanted, 1)
                return
            file.seek(header.end())
            num, dimension = int(header[1]), int(header[2])
            if _is_text(start[header.end() :], dimension):
                yield from _read_text(file, where, is_wanted, 2)
            else:
                yield from _read_binary(file, where, is_wanted, num, dimension)
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror})") from None


def _is_text(content: bytes, dimension: int) -> bool:
    """Whether the part of a file behind its header is text, judged by its first values."""
    first = content.partition(b" ")[2][: 16 * min(dimension, 8)]
    return bool(re.fullmatch(rb"[\s\x21-\x7e]*", first))


def _read_text(
    file: BinaryIO, where: str, is_wanted: Callable[[str], bool], first: int
) -> Iterator[tuple[str, np.ndarray, str]]:
    import numpy as np

    number = first - 1
    while line := file.readline(MAX_LINE):
        number += 1
        word, _, values = line.decode("utf-8", errors="replace").rstrip().partition(" ")
        if not is_wanted(word):
            continue
        try:
            vector = np.array(values.split(), np.float32)
        except ValueError:
            raise UserError(f"{where}, line {number}: expected a token and numbers, separated by spaces") from None
        yield word, vector, f"{where}, line {number}"


def _read_binary(
    file: BinaryIO, where: str, is_wanted: Callable[[str], bool], num: int, dimension: int
) -> Iterator[tuple[str, np.ndarray, str]]:
    import numpy as np

    if not 1 <= dimension <= MAX_DIMENSION:
        raise UserError(f"{where}: vectors of {dimension:,} values; a dimension must be from 1 to {MAX_DIMENSION:,}")
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
                yield word, np.frombuffer(content, "<f4").astype(np.float32), f"{where}, word {number:,}"
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
    write(path, content.getvalue())
