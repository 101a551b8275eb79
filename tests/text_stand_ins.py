"""Generated texts in the formats of the published sets: words that tell the class among words that do not."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest

TELLING = {0: ("awful", "boring", "bad"), 1: ("great", "lovely", "good")}
OTHERS = ("the", "film", "food", "phone", "was", "it", "and", "very", "truly", "so")


def text(label: int, draw: random.Random, shortest: int = 3, longest: int = 20) -> str:
    """A sentence of words that do not tell its class, and one that does."""
    words = draw.choices(OTHERS, k=draw.randint(shortest, longest))
    words[draw.randrange(len(words))] = draw.choice(TELLING[label])
    return " ".join(words).capitalize() + "."


def texts(n: int, seed: int = 0, **lengths: int) -> tuple[list[str], list[int]]:
    draw = random.Random(seed)
    labels = [i % 2 for i in range(n)]
    return [text(label, draw, **lengths) for label in labels], labels


def write_shakespeare(data_dir: Path, num_lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of plays, with fewer lines."""
    from dlzoo.data.text.shakespeare import TinyShakespeare

    path = data_dir / TinyShakespeare.folder / TinyShakespeare.file
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{line}\n" for line in texts(num_lines)[0]))
    monkeypatch.setattr(TinyShakespeare, "num_bytes", path.stat().st_size)


def write_sentences(data_dir: Path, num_each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three files of the labelled sentences, with fewer in each."""
    from dlzoo.data.text.published import SentimentSentences

    folder = data_dir / SentimentSentences.folder
    folder.mkdir(parents=True)
    for i, name in enumerate(SentimentSentences.names):
        pairs = zip(*texts(num_each, seed=i), strict=True)
        (folder / name).write_text("".join(f"{sentence}  \t{label}\n" for sentence, label in pairs))
    monkeypatch.setattr(SentimentSentences, "num_sentences", num_each)


def write_pairs(data_dir: Path, num_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of English and Spanish sentences, with fewer pairs."""
    from dlzoo.data.pairs.spa_eng import SpaEng

    folder = data_dir / SpaEng.folder
    folder.mkdir(parents=True)
    english, _ = texts(num_pairs, seed=20, longest=8)
    content = "".join(f"{text}\t{text.swapcase()[::-1]}\n" for text in english).encode()
    (folder / SpaEng.file).write_bytes(content)
    monkeypatch.setattr(SpaEng, "sha256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(SpaEng, "num_bytes", len(content))


def write_imdb(data_dir: Path, num_reviews: int, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """The archive of the reviews, with fewer of them, and others that have no label."""
    data_dir.mkdir(exist_ok=True)
    with tarfile.open(data_dir / "aclImdb_v1.tar.gz", "w:gz") as tar:
        for i, split in enumerate(("test", "train")):
            own, labels = texts(num_reviews, seed=10 + i, shortest=5, longest=60)
            for number, (review, label) in enumerate(zip(own, labels, strict=True)):
                kind, stars = ("neg", 2) if label == 0 else ("pos", 9)
                add(tar, f"aclImdb/{split}/{kind}/{number // 2}_{stars}.txt", f"{review}<br /><br />The end")
        add(tar, "aclImdb/train/unsup/0_0.txt", "of no kind")
        add(tar, "aclImdb/README", "about the reviews")
    if monkeypatch is not None:
        from dlzoo.data.text.published import Imdb

        monkeypatch.setattr(Imdb, "num_reviews", num_reviews)


def add(tar: tarfile.TarFile, name: str, content: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content.encode())
    tar.addfile(member, io.BytesIO(content.encode()))
