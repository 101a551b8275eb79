"""Running text: cut from the start into train, validation and test, with a vocabulary of train alone."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from text_stand_ins import write_sentences

from dlzoo.data.text.shakespeare import TinyShakespeare
from dlzoo.data.text.stream import SentencesStream, TextFile
from dlzoo.errors import UserError
from dlzoo.specs import bpe
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import NextTokens
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN

TEXT = "".join(f"line {i}: a b c\n" for i in range(200)) + "Only ä in the end\n"


def file(tmp_path: Path, content: str | bytes = TEXT, **options: Any) -> TextFile:
    path = tmp_path / "book.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TextFile(path=str(path), **options)


def written(data: Any, split: str) -> str:
    return data.spec.tokenizer.join([data.spec.vocabulary[i] for i in data.arrays(split).tolist()])


def test_the_splits_are_the_text(tmp_path: Path) -> None:
    data = file(tmp_path)
    assert data.declare().vocabulary == SPECIAL
    data.setup("fit")
    assert isinstance(data.spec, TextSpec)
    parts = {split: data.arrays(split) for split in ("train", "val", "test")}  # type: ignore[arg-type]
    num_test = round(len(TEXT) * 0.1)
    num_val = round((len(TEXT) - num_test) * 0.1)
    assert [len(part) for part in parts.values()] == [len(TEXT) - num_test - num_val, num_val, num_test]
    assert written(data, "train") + written(data, "val") == TEXT[: -len(parts["test"])]
    own = TEXT[-len(parts["test"]) :]
    seen = set(TEXT[: len(parts["train"])])
    assert written(data, "test") == "".join(sign if sign in seen else "<unk>" for sign in own) != own
    assert UNKNOWN not in parts["train"]
    assert all(PAD not in part for part in parts.values())
    assert data.spec.target == NextTokens(data.spec.num_tokens)


def test_words_and_lines(tmp_path: Path) -> None:
    data = file(tmp_path, level="word", lower=True, min_count=2)
    data.setup("fit")
    assert {"\n", "line", ":", "a"} <= set(data.spec.vocabulary)  # type: ignore[union-attr]
    assert UNKNOWN in data.arrays("train")  # the numbers of lines occur once
    flat = file(tmp_path, level="word", line_breaks=False)
    flat.setup("fit")
    assert "\n" not in flat.spec.vocabulary  # type: ignore[union-attr]


def test_a_folder_of_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"{name * 30}")
    (tmp_path / "c.md").write_text("no text")
    data = TextFile(path=str(tmp_path), test_fraction=0.2)
    assert data.text() == "a" * 30 + "\n" + "b" * 30
    before = data.fingerprint("all")
    (tmp_path / "b.txt").write_text("b" * 29 + "c")
    assert data.fingerprint("all") != before


def test_the_loaders_are_streams(tmp_path: Path) -> None:
    data = file(tmp_path, batch_size=4, num_steps=20, eval_batch_size=2, eval_num_steps=50)
    data.prepare_data()
    x, y, _ = list(data.train_dataloader())[1]
    assert x.shape == y.shape == (4, 20)
    assert torch.equal(x[0, 1:], y[0, :-1])
    assert {x.shape[1] for x, _, _ in data.val_dataloader()} == {min(50, -(-(len(data.arrays("val")) - 1) // 16))}


def test_pieces_of_words(tmp_path: Path) -> None:
    """They are fitted to the training text alone, which is the same as with characters."""
    data, chars = file(tmp_path, level="bpe", max_vocab=40), file(tmp_path)
    data.setup()
    chars.setup()
    for split in ("train", "val", "test"):
        assert written(data, split) == written(chars, split)
    assert len(data.spec.vocabulary) <= 40
    assert "line" in data.spec.vocabulary
    assert UNKNOWN not in data.arrays("train")
    assert int((data.arrays("test") == UNKNOWN).sum()) == int((chars.arrays("test") == UNKNOWN).sum()) > 0
    assert len(data.arrays("train")) < len(chars.arrays("train")) * 0.6
    other = file(tmp_path, TEXT[:1500] + "zzzz zzzz zzzz " * 20, level="bpe", max_vocab=40, val_fraction=0.1)
    other.setup()
    assert not any("zz" in piece for piece in other.spec.vocabulary), "the end is not trained on"


def test_a_trained_model_splits_new_text_by_its_own_pieces(tmp_path: Path) -> None:
    data = file(tmp_path, level="bpe", max_vocab=40)
    data.setup()
    new = file(tmp_path, TEXT.upper() + TEXT, level="bpe", max_vocab=40)
    new.adopt(data.spec)
    new.setup()
    assert new.spec.tokenizer.merges == data.spec.tokenizer.merges
    assert new.spec.vocabulary == data.spec.vocabulary
    assert data.spec.decode(data.spec.encode("line 7: a b c\n")) == "line 7: a b c\n"


def test_mistakes_about_pieces(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.level=bpe needs data\.max_vocab"):
        file(tmp_path, level="bpe")
    with pytest.raises(UserError, match=r"data\.max_vocab=9 is too small: the training text has 20 different char"):
        file(tmp_path, level="bpe", max_vocab=9).setup()
    with pytest.raises(UserError, match="the training part of the text is a single piece of a word"):
        file(tmp_path, "ab" * 120, level="bpe", max_vocab=40, val_size=2, test_fraction=0.5).setup()


@pytest.mark.parametrize("text", ["ab" * 200_000, " " * 100_000], ids=["one word", "spaces"])
def test_pieces_of_a_word_without_end_take_no_minutes(text: str) -> None:
    start = time.monotonic()
    merges = bpe.fit(text, 100)
    pieces = bpe.Splitter(merges)(text)
    assert time.monotonic() - start < 5
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= bpe.MAX_WORD


def test_shakespeare_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TinyShakespeare(data_dir=tmp_path)
    with pytest.raises(UserError, match=r"tiny_shakespeare/input\.txt is not in .*prepare_data"):
        data.text()
    (tmp_path / "tiny_shakespeare").mkdir()
    (tmp_path / "tiny_shakespeare" / "input.txt").write_text(TEXT)
    with pytest.raises(UserError, match=r"input\.txt is damaged: it has [\d,]+ bytes, not 1,115,394"):
        data.text()
    monkeypatch.setattr(TinyShakespeare, "num_bytes", len(TEXT.encode()))
    data.prepare_data()
    assert data.text() == TEXT


@pytest.mark.realdata
def test_shakespeare(real_data_dir: Path) -> None:
    data = TinyShakespeare(data_dir=real_data_dir)
    assert data.text().startswith("First Citizen:\nBefore we proceed")
    assert len(data.text()) == 1_115_394
    assert hashlib.sha256(data.text().encode()).hexdigest() == TinyShakespeare.sha256
    assert len(data.arrays("train")) == 903_469
    assert data.spec.num_tokens == 65 + len(SPECIAL)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "contains no text"),
        ("abc", {}, r"a text of 3 tokens leaves .*data\.test_fraction=0\.1"),
        (TEXT, {"val_size": 5000}, r"data\.val_size=5000"),
        (b"caf\xe9" * 100, {}, r"book\.txt is not utf-8 text \(line 1, byte 3 is 0xe9\); set data\.encoding=latin-1"),
        (TEXT, {"encoding": "latin-9000"}, r"data\.encoding=latin-9000"),
        (TEXT, {"num_steps": 0}, r"data\.num_steps=0"),
        (TEXT, {"test_fraction": 0.0}, r"data\.test_fraction=0\.0"),
    ],
)
def test_mistakes(content: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        file(tmp_path, content, **options).setup("fit")
    with pytest.raises(UserError, match="there is no such file"):
        TextFile(path=str(tmp_path / "bok.txt")).setup("fit")


def test_the_sentences_as_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sentences(tmp_path, 40, monkeypatch)
    data = SentencesStream(data_dir=tmp_path)
    lines = data.text().split("\n")
    assert len(lines) == 121
    assert not any("\t" in line for line in lines)
    assert data.text() == SentencesStream(data_dir=tmp_path, seed=5).text()
    data.setup("fit")
    assert written(data, "train") == data.text()[: len(data.arrays("train"))]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_are_one_token(end: str, tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_bytes(end.join(f"line {i}" for i in range(99)).encode())
    data = TextFile(path=str(book))
    assert data.text() == "\n".join(f"line {i}" for i in range(99))
    data.setup()
    assert "\r" not in data.spec.vocabulary
    older = TextFile(path=str(book))  # a model of an earlier version has both as tokens
    older.adopt(dataclasses.replace(data.spec, vocabulary=(*data.spec.vocabulary, "\r")))
    assert older.text().count("\r") == 98
    assert older.fingerprint("all") != data.fingerprint("all")
