"""Files of word vectors: what is written is read again, also by gensim, and damaged files are refused in a sentence."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest

from dlzoo.errors import UserError
from dlzoo.utils import word_vectors

WORDS = ["the", "naïve", "東京", "10", "a-b"]
VECTORS = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)


def read(path: Path) -> dict[str, np.ndarray]:
    return {word: vector for word, vector, _ in word_vectors.read(path, "vectors", lambda word: True)}


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.bin", "v.glove"])
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    word_vectors.save(tmp_path / name, WORDS, VECTORS)
    found = read(tmp_path / name)
    assert list(found) == WORDS
    np.testing.assert_array_equal(np.stack([*found.values()]), VECTORS)  # 9 digits are enough for float32


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_our_files_and_we_read_its(binary: bool, tmp_path: Path) -> None:
    models = pytest.importorskip("gensim.models")
    path = tmp_path / ("ours.bin" if binary else "ours.txt")
    word_vectors.save(path, WORDS, VECTORS)
    theirs = models.KeyedVectors.load_word2vec_format(str(path), binary=binary)
    assert theirs.index_to_key == WORDS
    np.testing.assert_array_equal(theirs.vectors, VECTORS)
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    found = read(tmp_path / "theirs")
    assert list(found) == WORDS
    np.testing.assert_allclose(np.stack([*found.values()]), VECTORS, rtol=1e-6)


def test_binary_files_without_line_ends_are_read(tmp_path: Path) -> None:
    """As word2vec's own program reads them; GoogleNews' has none."""
    pairs = zip(WORDS, VECTORS, strict=True)
    (tmp_path / "v.bin").write_bytes(b"5 12\n" + b"".join(w.encode() + b" " + v.tobytes() for w, v in pairs))
    assert list(read(tmp_path / "v.bin")) == WORDS


def test_a_header_that_is_a_number_and_its_only_value_is_no_word(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("2 3\ngood 1 2 3\n2 4 5 6\n")
    assert list(read(tmp_path / "v.txt")) == ["good", "2"]


def damaged(change: str) -> bytes:
    whole = io.BytesIO()
    whole.write(b"5 12\n")
    for word, vector in zip(WORDS, VECTORS, strict=True):
        whole.write(word.encode() + b" " + vector.tobytes())
    content = whole.getvalue()
    return {
        "short": content[:-3],
        "more words": content.replace(b"5 12", b"9 12"),
        "no vectors": content.replace(b"5 12", b"5 0"),
        "wide": content.replace(b"5 12", b"5 999999999"),
        "fewer words": content.replace(b"5 12", b"4 12"),
        "not a number": content.replace(VECTORS[2].tobytes(), np.full(12, np.nan, "<f4").tobytes()),
        "gzip": b"\x1f\x8b" + content,
        "zip": b"PK\x03\x04" + content,
    }[change]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("short", r"word 5: the file ends"),
        ("more words", r"word 6: the file ends"),
        ("wide", r"vectors of 999,999,999 values; a dimension"),
        ("no vectors", r"vectors of 0 values; a dimension"),
        ("fewer words", r"the header says 4 words, but more follows"),
        ("not a number", r"word 3: a value is not finite"),
        ("gzip", r"is compressed: unpack it first"),
        ("zip", r"is compressed: unpack it first"),
    ],
)
def test_damaged_files(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(damaged(change))
    with pytest.raises(UserError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 2\na 1 2\nb 3 4\n", "ends after 2 words, but its header says 3"),
        ("1 2\na 1 2\nb 3 4\n", "line 3: the header says 1 words, but there are more"),
        ("2 3\na 1 2\nb 3 4\n", "line 2: .*; it has 2 values, but the header has 3"),
        ("2 0\na\nb\n", "vectors of 0 values"),
        ("a 1 2\nb 3\n", "line 2: .*; it has 1 values, but the first word has 2"),
        ("a 1 2\nb 3 4 5\n", "line 2: .*; it has 3 values, but the first word has 2"),
        ("a 1 2\nb 3 x\n", "line 2: expected a token and numbers"),
        ("a 1 2\nb 3 nan\n", "line 2: a value is not finite"),
        ("a 1 2\nb 3 1e39\n", "line 2: a value is not finite"),
        ("a\nb\n", "line 1: .*; it has none"),
        ("x" * (1 << 20) + " 1 2\n", "line 1 is longer than"),
    ],
)
def test_damaged_text(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "v.txt")


@pytest.mark.parametrize(
    "text",
    ["\ufeffa 1 2\nb 3 4\n", "\ufeff2 2\na 1 2\nb 3 4\n", "a\t1\t2\r\nb\t3\t4\r\n\r\n", "\na 1 2\n\nb  3  4 \n \n"],
)
def test_marks_tabs_and_empty_lines(text: str, tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text(text, newline="")
    assert {word: vector.tolist() for word, vector in read(tmp_path / "v.txt").items()} == {"a": [1, 2], "b": [3, 4]}


def test_words_of_several_parts(tmp_path: Path) -> None:
    """A few of the 2.2 million words of GloVe's largest file."""
    (tmp_path / "v.txt").write_text("a 1 2\n. . . 3 4\nat name@domain.com 5 6\n")
    assert list(read(tmp_path / "v.txt")) == ["a", ". . .", "at name@domain.com"]
    wanted = word_vectors.read(tmp_path / "v.txt", "vectors", {".", "a", "at"}.__contains__)
    assert [word for word, _, _ in wanted] == ["a"]


def test_empty_lines_take_neither_memory_nor_minutes(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes(b"\n" * 2_000_000)
    start = time.monotonic()
    assert not read(tmp_path / "v.txt")
    assert time.monotonic() - start < 5


def test_a_first_line_that_would_be_a_header_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would be read as a header"):
        word_vectors.save(tmp_path / "v.glove", ["3", "4"], np.ones((2, 1), np.float32))


def test_words_with_spaces_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has a space"):
        word_vectors.save(tmp_path / "v.txt", ["new york"], VECTORS[:1])
