"""Vectors of tokens: padding stays zero, unknown ones are learned, pretrained ones are loaded and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Outcome

from dlzoo.checkpoint.load import load_task
from dlzoo.errors import UserError
from dlzoo.layers.embedding import Embedding, lengths_of, read_vectors
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN

SPEC = TextSpec(Classes(("no", "yes")), vocabulary=(*SPECIAL, "good", "Bad", "rare"))


def vectors(tmp_path: Path, text: str = "good 1 2 3\nbad 4 5 6\nother 7 8 9\n") -> str:
    (tmp_path / "glove.txt").write_text(text, encoding="utf-8")
    return str(tmp_path / "glove.txt")


def test_published_vectors_are_copied_and_counted(tmp_path: Path) -> None:
    embedding = Embedding(SPEC, 3, vectors=vectors(tmp_path))
    before = embedding.table.weight.detach().clone()
    (line,) = embedding.load_pretrained()
    after = embedding.table.weight.detach()
    assert "2 of 3 tokens (66.7%)" in line
    assert after[2:4].tolist() == [[1, 2, 3], [4, 5, 6]]  # Bad has the vector of bad
    assert torch.equal(after[[PAD, UNKNOWN, 4]], before[[PAD, UNKNOWN, 4]])
    assert embedding.table.weight.requires_grad
    assert not Embedding(SPEC, 3, vectors="x", freeze=True).table.weight.requires_grad
    assert Embedding(SPEC, 3).load_pretrained() == []


def test_exact_case_takes_precedence(tmp_path: Path) -> None:
    path = vectors(tmp_path, "bad 4 5 6\nBad 0 0 1\n")
    assert read_vectors(path, {"Bad": 3}, 3)[3].tolist() == [0, 0, 1]
    path = vectors(tmp_path, "Bad 0 0 1\nbad 4 5 6\n")
    assert read_vectors(path, {"Bad": 3}, 3)[3].tolist() == [0, 0, 1]


def test_word2vec_header_is_skipped(tmp_path: Path) -> None:
    path = vectors(tmp_path, "2 3\ngood 1 2 3\n2 4 5 6\n")
    results = read_vectors(path, {"good": 2, "2": 3}, 3)
    assert {row: vector.tolist() for row, vector in results.items()} == {2: [1, 2, 3], 3: [4, 5, 6]}
    assert all(vector.dtype == np.float32 for vector in results.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good 1 2\n", r"line 1: it has 2 values, but net\.embedding=3; make them equal"),
        ("other 1 2\ngood 1 x 3\n", "line 2: expected a token and numbers"),
        ("other 1 2 3\n", "has no vector of any of the 3 tokens"),
    ],
)
def test_files_that_do_not_fit(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Embedding(SPEC, 3, vectors=vectors(tmp_path, text)).load_pretrained()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_units": 0}, r"net\.embedding=0"),
        ({"word_dropout": 1.0}, r"net\.word_dropout=1\.0"),
        ({"dropout": 1.0}, r"net\.embedding_dropout=1\.0"),
        ({"freeze": True}, r"net\.freeze_vectors=true needs net\.vectors"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Embedding(SPEC, **{"num_units": 3} | options)
    with pytest.raises(UserError, match="there is no folder"):
        Embedding(SPEC, 3, vectors="/nowhere/glove.txt").load_pretrained()


def test_padding_stays_zero() -> None:
    embedding = Embedding(SPEC, 3)
    optimizer = torch.optim.SGD(embedding.parameters(), lr=1.0)
    x = torch.tensor([[2, 3, PAD], [2, PAD, PAD]])
    assert lengths_of(x).tolist() == [2, 1]
    embedding(x).sum().backward()
    optimizer.step()
    assert not embedding(x)[0, 2].any()
    assert embedding(x)[0, 0].any()


def test_word_dropout_leaves_padding_and_evaluation_alone() -> None:
    embedding = Embedding(SPEC, 3, word_dropout=0.5)
    x = torch.tensor([[2] * 1000 + [PAD] * 10])
    unknown, own = embedding.table.weight[[UNKNOWN, 2]]
    y = embedding.train()(x)[0]
    dropped = (y[:1000] == unknown).all(1)
    assert 400 < dropped.sum() < 600
    assert (y[:1000][~dropped] == own).all()
    assert not y[1000:].any()
    assert (embedding.eval()(x)[0, :1000] == own).all()


def test_a_checkpoint_does_not_need_the_vectors_again(
    train: Callable[..., Outcome], stand_in_data: Path, tmp_path: Path
) -> None:
    path = vectors(tmp_path, "good 1 2 3 4\nboring -1 0 0 0\n")
    net = ("net.embedding=4", "net.num_units=4", f"net.vectors={path}", "net.freeze_vectors=true")
    overrides = ("model=rnn_classifier", "data=sentiment_sentences", f"data_dir={stand_in_data}", "trainer=smoke")
    done = train(*overrides, *net, "trainer.accelerator=cpu")
    assert done.code == 0, done.err
    assert "glove.txt: vectors of 2 of" in done.out
    assert ", frozen" in done.out
    Path(path).unlink()
    (ckpt,) = tmp_path.glob("outputs/*/*/checkpoints/best.ckpt")
    task, _ = load_task(ckpt)
    assert isinstance(task.spec, TextSpec)
    good = task.spec.vocabulary.index("good")
    assert task.net.embedding.table.weight[good].tolist() == [1, 2, 3, 4]  # type: ignore[union-attr, index]
    done = train(f"ckpt={ckpt.with_name('last.ckpt')}", "trainer.max_epochs=2")
    assert done.code == 0, done.err
