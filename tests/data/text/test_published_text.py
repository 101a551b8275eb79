"""The sentences and the reviews are read whole and in place, from whatever form they are there in."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from text_stand_ins import TELLING, add, write_imdb, write_sentences

from dlzoo.data.text.published import MAX_BYTES, Imdb, PublishedText, SentimentSentences, read_sentences
from dlzoo.errors import UserError
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import Classes
from dlzoo.specs.tokenizer import SPECIAL


def sentences(folder: Path, **options: Any) -> SentimentSentences:
    return SentimentSentences(data_dir=folder, **options)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_sentences(tmp_path, 40, monkeypatch)
    write_imdb(tmp_path, 60, monkeypatch)
    return tmp_path


def test_splits_are_disjoint_and_balanced(folder: Path) -> None:
    data = sentences(folder, seed=1)
    rows = {split: set(data._locations[split][1].tolist()) for split in ("train", "val", "test") if data.arrays(split)}
    assert [len(rows[split]) for split in ("train", "val", "test")] == [72, 8, 40]
    assert len(set.union(*rows.values())) == 120
    for split, n in {"train": 72, "val": 8, "test": 40}.items():
        y = data.arrays(split).y  # type: ignore[arg-type]
        assert y.sum() == n / 2
        texts = data.texts(split)  # type: ignore[arg-type]
        assert [any(word in text.lower() for word in TELLING[1]) for text in texts] == y.bool().tolist()
        assert [data.spec.encode(t) for t in texts] == as_lists(data, split)  # type: ignore[union-attr]


def as_lists(data: PublishedText, split: Any) -> list[list[int]]:
    x = data.arrays(split).padded(torch.arange(data.arrays(split).num_rows))
    return [row[row != 0].tolist() for row in x]


def test_the_test_third_is_fixed_and_validation_goes_with_the_seed(folder: Path) -> None:
    one, other = sentences(folder, seed=1), sentences(folder, seed=2)
    assert one.texts("test") == other.texts("test")
    assert one.texts("val") != other.texts("val")
    assert one.texts("test") != sentences(folder, test_seed=1).texts("test")


def test_the_vocabulary_is_of_the_training_rows_alone(folder: Path) -> None:
    file = folder / SentimentSentences.folder / "imdb_labelled.txt"
    lines = file.read_text().split("\n")
    file.write_text("\n".join(f"word{i} {line}" if line else line for i, line in enumerate(lines)))
    data = sentences(folder)
    data.setup("fit")
    assert isinstance(data.spec, TextSpec)
    seen = {word for text in data.texts("train") for word in data.tokenizer.splitter()(text)}
    assert set(data.spec.vocabulary) == seen | set(SPECIAL)
    held = {f"word{i}" for i in range(40)} - seen
    assert held
    before = data.spec
    data.setup("test")
    assert data.spec == before
    small = sentences(folder, max_vocab=5)
    small.setup("fit")
    assert small.spec.vocabulary == before.vocabulary[:5]  # type: ignore[union-attr]


def test_what_is_declared_is_what_comes_but_for_the_vocabulary(folder: Path) -> None:
    for data in (sentences(folder, max_length=9), Imdb(data_dir=folder, keep="last")):
        declared = data.declare()
        data.setup("fit")
        assert isinstance(data.spec, TextSpec)
        assert declared.vocabulary == SPECIAL
        assert (declared.tokenizer, declared.max_length, declared.keep) == (
            data.spec.tokenizer, data.spec.max_length, data.spec.keep,
        )  # fmt: skip
        assert isinstance(data.spec.target, Classes)
        assert declared.target.names == data.spec.target.names == ("negative", "positive")
        assert sum(data.spec.target.counts) == data.arrays("train").num_rows


def test_only_a_line_feed_ends_a_sentence(folder: Path) -> None:
    file = folder / SentimentSentences.folder / "yelp_labelled.txt"
    lines = file.read_text().split("\n")
    lines[0] = '"Good\x85 so\u2028 far",\x0c\the said. \t1\r'
    file.write_text("\n".join(lines), newline="")
    texts, labels = sentences(folder).read_texts("all")
    assert (len(texts), len(labels)) == (120, 120)
    assert (texts[80], labels[80]) == ('"Good\x85 so\u2028 far",\x0c\the said.', 1)


@pytest.mark.parametrize("damage", ["a line less", "no label", "another label"])
def test_damaged_sentences_are_refused(damage: str, folder: Path) -> None:
    file = folder / SentimentSentences.folder / "yelp_labelled.txt"
    _, rest = file.read_text().split("\n", 1)
    file.write_text({"a line less": "", "no label": "Good.\n", "another label": "Good.\t2\n"}[damage] + rest)
    with pytest.raises(UserError, match=r"yelp_labelled\.txt is damaged: it does not contain 40 sentences"):
        sentences(folder).setup("fit")


def test_the_archive_of_sentences_is_read_in_place(folder: Path) -> None:
    own = sentences(folder).read_texts("all")
    inside = folder / SentimentSentences.folder
    with zipfile.ZipFile(folder / SentimentSentences.archive, "w") as archive:
        for file in inside.iterdir():
            archive.write(file, f"{inside.name}/{file.name}")
            archive.writestr(f"__MACOSX/{inside.name}/._{file.name}", "rubbish")
    for file in inside.iterdir():
        file.unlink()
    data = sentences(folder, mirrors=[])
    data.prepare_data()
    assert data.read_texts("all") == own
    assert not list(inside.iterdir())
    (folder / SentimentSentences.archive).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="damaged"):
        sentences(folder).setup("fit")


def test_the_reviews_of_the_archive_and_of_its_folder_are_the_same(folder: Path, tmp_path: Path) -> None:
    archive = Imdb(data_dir=folder)
    texts, labels = archive.read_texts("train")
    assert labels == [0] * 30 + [1] * 30
    assert all(text.endswith("\n\nThe end") for text in texts)
    assert "of no kind" not in texts
    assert not set(texts) & set(archive.read_texts("test")[0])
    shutil.unpack_archive(folder / Imdb.archive, tmp_path / "out")
    unpacked = Imdb(data_dir=tmp_path / "out", mirrors=[])
    unpacked.prepare_data()
    assert unpacked.read_texts("train") == (texts, labels)
    assert as_lists(unpacked, "val") == as_lists(archive, "val")


def test_the_order_of_the_archive_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Imdb, "num_reviews", 4)
    names = [f"aclImdb/train/{kind}/{i}_{stars}.txt" for kind, stars in (("neg", 1), ("pos", 10)) for i in (9, 10)]
    read = []
    for i, order in enumerate((names, names[::-1])):
        (tmp_path / f"{i}").mkdir()
        with tarfile.open(tmp_path / f"{i}" / Imdb.archive, "w:gz") as tar:
            for name in order:
                add(tar, name, name)
        read.append(Imdb(data_dir=tmp_path / f"{i}").read_texts("train"))
    assert read[0] == read[1] == (names, [0, 0, 1, 1])


@pytest.mark.parametrize("damage", ["cut off", "no archive", "reviews missing"])
def test_a_damaged_archive_is_refused(damage: str, folder: Path) -> None:
    path = folder / Imdb.archive
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "no archive":
        path.write_bytes(b"<html>not found</html>")
    else:
        write_imdb(folder, 58)
    with pytest.raises(UserError, match=re.escape(str(path)) + " is damaged"):
        Imdb(data_dir=folder).setup("fit")


def test_an_archive_writes_nothing_wherever_its_names_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = tmp_path / "inside" / "data"
    data_dir.parent.mkdir()
    write_imdb(data_dir, 20, monkeypatch)
    with gzip.open(data_dir / Imdb.archive) as packed:
        content = io.BytesIO(packed.read())
    with tarfile.open(fileobj=content, mode="a") as tar:
        for name in ("../../evil.txt", f"{tmp_path}/evil.txt", "aclImdb/train/pos/../../../../evil.txt"):
            add(tar, name, "evil")
        link = tarfile.TarInfo("aclImdb/train/pos/99_9.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        pipe = tarfile.TarInfo("aclImdb/train/pos/98_9.txt")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
    (data_dir / Imdb.archive).write_bytes(gzip.compress(content.getvalue()))
    before = {*tmp_path.rglob("*")}
    texts, labels = Imdb(data_dir=data_dir).read_texts("train")
    assert len(texts) == len(labels) == 20
    assert {*tmp_path.rglob("*")} == before
    assert not any("root:" in text or "evil" in text for text in texts)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_imdb(tmp_path, 20, monkeypatch)
    with gzip.open(tmp_path / Imdb.archive) as packed:
        content = io.BytesIO(packed.read())
    with tarfile.open(fileobj=content, mode="a") as tar:
        add(tar, "aclImdb/train/pos/99_9.txt", "x" * (MAX_BYTES + 1))
    (tmp_path / Imdb.archive).write_bytes(gzip.compress(content.getvalue()))
    with pytest.raises(UserError, match="far larger"):
        Imdb(data_dir=tmp_path).read_texts("train")
    with zipfile.ZipFile(tmp_path / SentimentSentences.archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in SentimentSentences.names:
            file.writestr(f"{SentimentSentences.folder}/{name}", "x" * (MAX_BYTES + 1))
    with pytest.raises(UserError, match="far more than the published one"):
        read_sentences(tmp_path)


@pytest.mark.parametrize("cls", [SentimentSentences, Imdb])
def test_offline_the_error_says_what_to_do(cls: type[PublishedText], tmp_path: Path) -> None:
    data = cls(data_dir=tmp_path, mirrors="http://127.0.0.1:9")
    name = cls.archive  # type: ignore[attr-defined]
    with pytest.raises(
        UserError, match=rf"{re.escape(name)} could not be downloaded .*Put it into {tmp_path} yourself"
    ):
        data.prepare_data()
    with pytest.raises(UserError, match="call prepare_data"):
        cls(data_dir=tmp_path).setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_vocab": 2}, r"data\.max_vocab=2 is too small; it must be at least 3"),
        ({"min_count": 0}, r"data\.min_count=0"),
        ({"max_length": 0}, r"data\.max_length=0"),
        ({"test_fraction": 1.0}, r"data\.test_fraction=1\.0"),
        ({"standardize": True}, r"data\.standardize=true"),
    ],
)
def test_wrong_options_are_told_with_their_key(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        sentences(tmp_path, **options)


def test_a_vocabulary_with_nothing_in_it_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data\.min_count=5000"):
        sentences(folder, min_count=5000).setup("fit")


def test_a_trained_models_vocabulary_is_adopted(folder: Path) -> None:
    trained = sentences(folder, max_vocab=8, max_length=5)
    trained.setup("fit")
    other = Imdb(data_dir=folder)
    other.adopt(trained.spec)
    assert as_lists(other, "test") == [trained.spec.encode(text) for text in other.texts("test")]  # type: ignore[union-attr]
    assert other.spec == trained.spec


@pytest.mark.realdata
def test_the_real_sentences(real_data_dir: Path) -> None:
    data = sentences(real_data_dir)
    texts, labels = data.read_texts("all")
    assert (len(texts), sum(labels)) == (3000, 1500)
    assert [data.arrays(split).num_rows for split in ("train", "val", "test")] == [1800, 200, 1000]  # type: ignore[arg-type]


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_reviews(real_data_dir: Path) -> None:
    data = Imdb(data_dir=real_data_dir, max_vocab=10_000, max_length=200)
    assert [data.arrays(split).num_rows for split in ("train", "val", "test")] == [22_500, 2500, 25_000]  # type: ignore[arg-type]
    assert data.spec.num_tokens == 10_000  # type: ignore[union-attr]
