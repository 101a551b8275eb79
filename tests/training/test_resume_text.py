"""Nets that read texts, killed within an epoch and continued, with what they drop at random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from continuing import Undisturbed

COMMON = (
    "trainer=cpu deterministic=true logger=none trainer.max_epochs=2 callbacks=[history,checkpoint] "
    "callbacks.last_checkpoint.every_n_steps=3 data.val_fraction=0.2"
)
STREAM = "data=text_file data.path={folder}/book.txt data.batch_size=4 data.num_steps=12"
REVIEWS = "data=text_csv data.path={folder}/reviews.csv data.text=text data.target=label data.batch_size=8"
FAMILIES = {
    "gpt": f"model=gpt {STREAM} net.num_units=16 net.num_heads=2 net.num_layers=1 net.dropout=0.2",
    "gpt, byte pairs": f"model=gpt {STREAM} data.level=bpe data.max_vocab=300 net.num_units=16 net.num_heads=2",
    "fasttext": f"model=fasttext {REVIEWS} net.num_buckets=50 net.dropout=0.3",
    "transformer_classifier": f"model=transformer_classifier {REVIEWS} net.num_units=8 net.num_heads=2 net.dropout=0.2",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book, and reviews with labels."""
    made, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    words = ("the", "a", "cat", "dog", "sat", "on", "mat", "ran", "to", "house", "red", "blue")
    lines = [" ".join(draw.choices(words, k=draw.randint(3, 9))) for _ in range(90)]
    (made / "book.txt").write_text("\n".join(lines))
    rows = [f"{line},{('good', 'bad')['cat' in line]}" for line in lines]
    (made / "reviews.csv").write_text("\n".join(["text,label", *rows]))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_within_an_epoch(family: str, folder: Path, tmp_path: Path) -> None:
    whole = Undisturbed(tmp_path, [*FAMILIES[family].format(folder=folder).split(), *COMMON.split()])
    within = [i for i, (name, _) in enumerate(whole.copies) if "after" in name and "within epoch 2" in name]
    assert whole.broken_by_kill(within[0]) == []
