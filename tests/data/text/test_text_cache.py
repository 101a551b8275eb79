"""What was cut once is found again, and nothing but that; what is damaged is made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from text_stand_ins import texts, write_sentences

from dlzoo.data.text import cache as text_cache
from dlzoo.data.text.cache import Corpus, path_of, tokenise
from dlzoo.data.text.csv import TextCsv
from dlzoo.data.text.published import SentimentSentences
from dlzoo.data.text.stream import TextFile
from dlzoo.specs.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(tmp_path / "cache"))


def same(one: Corpus | None, other: Corpus) -> bool:
    return (
        one is not None
        and one.distinct_tokens == other.distinct_tokens
        and all(map(np.array_equal, one[1:], other[1:]))
    )


def test_tokens_are_those_of_the_tokenizer() -> None:
    own, labels = ["Good, good!", "", "bad\u2028line \x00"], [1, 0, 0]
    for tokenizer in (Tokenizer(), Tokenizer("char")):
        corpus = tokenise(own, labels, tokenizer)
        for i, text in enumerate(own):
            part = corpus.tokens[corpus.starts[i] : corpus.starts[i + 1]]
            assert [corpus.distinct_tokens[k] for k in part] == list(tokenizer.splitter()(text))
        assert corpus.labels.tolist() == labels
        path = path_of("x", tokenizer)
        text_cache.save(path, corpus)
        assert same(text_cache.load(path, labels, 3), corpus)


def test_each_source_and_setting_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [Tokenizer(), Tokenizer(lower=False), Tokenizer(punctuation=False), Tokenizer("char")]
    paths = {path_of(source, tokenizer) for source in ("a", "b") for tokenizer in settings}
    assert len(paths) == 8
    monkeypatch.setattr(text_cache, "VERSION", 99)
    assert path_of("a", Tokenizer()) not in paths


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty", "another file", "numbers too large", "a folder"])
def test_a_damaged_file_is_as_good_as_none(damage: str, tmp_path: Path) -> None:
    path, corpus = tmp_path / "corpus.npz", tokenise(*texts(50), Tokenizer())
    text_cache.save(path, corpus)
    content = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        place = content.index(corpus.tokens[:20].tobytes())
        content[place] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "another file":
        np.savez(path, tokens=corpus.tokens)
    elif damage == "numbers too large":
        text_cache.save(path, corpus._replace(distinct_tokens=corpus.distinct_tokens[:-1]))
    else:
        path.unlink()
        path.mkdir()
    assert text_cache.load(path, corpus.labels.tolist(), 50) is None


STRANGE = {
    "words that are no list": {"words": np.frombuffer(b"7", np.uint8)},
    "words that are numbers": {"words": np.frombuffer(b"[1, 2]", np.uint8)},
    "words that nest without end": {"words": np.frombuffer(b"[" * 100_000, np.uint8)},
    "a negative token": {"tokens": np.array([0, -1, 1], np.int32)},
    "fractions": {"tokens": np.array([0, 1, 0.5])},
    "tokens in a table": {"tokens": np.zeros((3, 1), np.int32)},
    "starts that go back": {"starts": np.array([0, 5, 3])},
    "no starts": {"starts": np.array([], np.int64)},
    "too few labels": {"labels": np.array([], np.int64)},
    "negative labels": {"labels": np.array([0, -1])},
    "labels beyond all classes": {"labels": np.array([0, 10**9])},
    "labels of other rows": {"labels": np.array([1, 0])},
    "too few rows": {"labels": np.array([0]), "starts": np.array([0, 3])},
    "too many rows": {"labels": np.array([0, 1, 1]), "starts": np.array([0, 1, 3, 3])},
    "an empty token": {"words": np.frombuffer(b'["a", ""]', np.uint8)},
    "a token twice": {"words": np.frombuffer(b'["a", "a"]', np.uint8)},
    "half of a character": {"words": np.frombuffer(b'["a", "\\ud800"]', np.uint8)},
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_file_that_another_wrote_is_as_good_as_none(what: str, tmp_path: Path) -> None:
    good = {
        "words": np.frombuffer(b'["a", "b"]', np.uint8), "tokens": np.array([0, 1, 0], np.int32),
        "starts": np.array([0, 1, 3]), "labels": np.array([0, 1]),
    }  # fmt: skip
    np.savez(tmp_path / "x.npz", **good)
    assert text_cache.load(tmp_path / "x.npz", [0, 1], 2) is not None
    np.savez(tmp_path / "x.npz", **(good | STRANGE[what]))
    assert text_cache.load(tmp_path / "x.npz", [0, 1], 2) is None


def test_an_array_alone_and_a_compressed_file_are_as_good_as_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    assert text_cache.load(tmp_path / "x.npz", [0, 1], 2) is None
    np.savez_compressed(tmp_path / "x.npz", words=np.zeros(10**6, np.uint8))  # it could unpack to any size
    assert text_cache.load(tmp_path / "x.npz", [0, 1], 2) is None


def test_a_running_text_has_no_labels_and_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.txt").write_text("the quick brown fox\n" * 50)
    first = TextFile(path=str(tmp_path / "x.txt")).corpus("all")
    monkeypatch.setattr(text_cache, "tokenise", lambda *_: pytest.fail("cut again"))
    assert same(TextFile(path=str(tmp_path / "x.txt")).corpus("all"), first)


def test_rows_that_another_removed_from_the_cache_are_tokenised_again(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\n" + "".join(f"a film {i},{'bad' if i % 2 else 'good'}\n" for i in range(20)))

    def data() -> TextCsv:
        return TextCsv(path=str(path), text="text", target="label")

    first = data().corpus("path")
    (stored,) = text_cache.folder().glob("*.npz")
    end = int(first.starts[2])
    text_cache.save(stored, Corpus(first.distinct_tokens, first.tokens[:end], first.starts[:3], first.labels[:2]))
    assert same(data().corpus("path"), first)
    text_cache.save(stored, first._replace(labels=first.labels + 10**9))
    assert same(data().corpus("path"), first)


def test_data_find_their_tokens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sentences(tmp_path / "data", 40, monkeypatch)

    def corpus(**options: bool) -> Corpus:
        return SentimentSentences(data_dir=tmp_path / "data", **options).corpus("all")

    first = corpus()
    (stored,) = text_cache.folder().glob("*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(text_cache, "tokenise", lambda *_: pytest.fail("cut again"))
        assert same(corpus(), first)
    stored.write_bytes(stored.read_bytes()[:-100])
    assert same(corpus(), first)
    assert same(text_cache.load(stored, first.labels.tolist(), 120), first)  # mended
    assert not same(corpus(punctuation=False), first)
    file = tmp_path / "data" / SentimentSentences.folder / "imdb_labelled.txt"
    file.write_text(file.read_text().replace("film", "filth"))
    assert "filth" in corpus().distinct_tokens


def test_where_nothing_can_be_stored_text_is_cut_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DLZOO_CACHE_DIR", str(tmp_path / "file"))
    write_sentences(tmp_path / "data", 40, monkeypatch)
    assert len(SentimentSentences(data_dir=tmp_path / "data").corpus("all").labels) == 120
    assert (tmp_path / "file").read_text() == "no folder"
