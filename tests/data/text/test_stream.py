"""Running text: cut from the start into train, validation and test, with a vocabulary of train alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from text_stand_ins import write_sentences

from dlzoo.data.text.stream import SentencesStream, TextFile
from dlzoo.errors import UserError
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
