"""Files of tagged sentences: CoNLL-U and others, right or refused in a sentence that names file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tagged_stand_ins as stand_ins
import torch
from local_server import Server

from dlzoo.data.text.conll import Layout, Sentence, layout_of, read_sentences
from dlzoo.data.text.tagged import SentenceLoader
from dlzoo.data.text.tagged_files import TaggedFiles
from dlzoo.data.text.treebank import EnglishTreebank
from dlzoo.errors import UserError
from dlzoo.specs.sentences import NO_WORD, UNSEEN_TAG, Tags
from dlzoo.specs.tokenizer import PAD, UNKNOWN
from dlzoo.specs.words import split_words

CONLLU = Layout("conllu", "form", "upos", comments="#")
COLUMNS = Layout("columns", 1, -1)


def write(folder: Path, content: str | bytes, name: str = "train.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(sentences: list[Sentence]) -> list[list[tuple[str, str]]]:
    return [[*zip(s.words, s.tags, strict=True)] for s in sentences]


def test_conllu_without_ranges_and_empty_nodes(tmp_path: Path) -> None:
    given = stand_ins.sentences(7)
    found = read_sentences(write(tmp_path, stand_ins.conllu(given)), CONLLU, "data.path")
    assert pairs(found) == given
    lines = (tmp_path / "train.txt").read_text().split("\n")
    assert all(
        lines[line - 1].split("\t")[1] == word for s in found for word, line in zip(s.words, s.lines, strict=True)
    )


@pytest.mark.parametrize("separator", [" ", "\t", "   ", " \t "])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_columns_between_tabs_or_spaces_and_any_line_ends(tmp_path: Path, separator: str, newline: str) -> None:
    given = stand_ins.sentences(5)
    path = write(tmp_path, stand_ins.columns(given, separator).replace("\n", newline))
    assert pairs(read_sentences(path, COLUMNS, "data.path")) == given, "without -DOCSTART-"


def test_blank_lines_end_sentences_however_many_and_the_last_needs_none(tmp_path: Path) -> None:
    path = write(tmp_path, "\n\n \t\na X\nb Y\n\n\n  \nc X\n# d Z")
    assert pairs(read_sentences(write(tmp_path, "\n\n \t\na X\nb Y\n\n\n  \nc X"), COLUMNS, "data.path")) == [
        [("a", "X"), ("b", "Y")],
        [("c", "X")],
    ]
    path = write(tmp_path, "a X\nb Y\n\n\n  \nc X\n# Z\n")
    assert pairs(read_sentences(path, COLUMNS, "data.path"))[1] == [("c", "X"), ("#", "Z")], "# may be a word"


def test_words_with_spaces_and_characters_that_only_look_like_them(tmp_path: Path) -> None:
    """As UD's 10 000, with a space or a no-break space; Python's split() would break the second."""
    rows = "1\t10 000\t_\tNUM" + "\t_" * 6 + "\n2\t20\u00a0000\t_\tNUM" + "\t_" * 6 + "\n3\t\u2028\t_\tSYM" + "\t_" * 6
    found = read_sentences(write(tmp_path, rows), CONLLU, "data.path")
    assert found[0].words == ("10 000", "20\u00a0000", "\u2028")
    found = read_sentences(write(tmp_path, "20\u00a0000 NUM\nx Y\n"), COLUMNS, "data.path")
    assert found[0].words == ("20\u00a0000", "x")


def test_words_that_other_readers_take_for_missing(tmp_path: Path) -> None:
    words = ("NA", "null", "nan", "None", '"', "#", "<unk>", "1", "")
    found = read_sentences(write(tmp_path, "".join(f"{word} X\n" for word in words[:-1])), COLUMNS, "data.path")
    assert found[0].words == words[:-1]


ROW = "1\tdog\t_\tNOUN" + "\t_" * 6


@pytest.mark.parametrize(
    ("content", "layout", "message"),
    [
        ("a b X\nc Y\n", COLUMNS, "line 2: 2 columns, but line 1 has 3; is the file cut off"),
        ("a b X\nc\nd e Y\n\n", COLUMNS, "line 2: 1 column, but line 1 has 3"),
        ("a X\nb c Y\n\nd Z\n", COLUMNS, "line 2: 3 columns, but line 1 has 2"),
        ("a\nb\n", COLUMNS, "line 1: 1 column, but a word and its tag are two"),
        ("a X\n", Layout("columns", 1, 3), "line 1: 2 columns, but data.tag=3"),
        ("# about\na X Y\n", COLUMNS, "line 2: 3 columns, but line 1 has 2"),
        (
            "a X Y\n\n# x\nb X Y\n",
            COLUMNS,
            "line 3: 2 columns, but line 1 has 3; if it is a comment, set data.comments=#",
        ),
        (f"{ROW}\n2\tbark", CONLLU, "line 2: 2 columns, but CoNLL-U has 10; is the file cut off"),
        (f"{ROW}\n2 bark _ VERB _ _ _ _ _ _\n", CONLLU, "line 2: 1 column.*set data.separator=whitespace"),
        (f"x{ROW}\n", CONLLU, "line 1: 'x1' is not a word's number"),
        (ROW.replace("dog", " "), CONLLU, "line 1: there is no word"),
        (ROW.replace("NOUN", "_"), CONLLU, "line 1: there is no tag"),
        ("a\tb\t\n", COLUMNS, "line 1: there is no tag"),
        ("", COLUMNS, "contains no sentences"),
        ("# only a comment\n", CONLLU, "contains no sentences"),
        (b"a X\nb\xe9 Y\n", COLUMNS, r"is not utf-8 text \(line 2, byte 5 is 0xe9\); set data.encoding=latin-1"),
        ("a X\n".encode("utf-16"), COLUMNS, "set data.encoding=utf-16"),
        (b"a X\nb \0 Y\n", COLUMNS, "null byte in line 2"),
        (f"{'x' * 2000} X\n", COLUMNS, "line 1: a word of 2,000 characters"),
        ("a X\n" * 6000, COLUMNS, "line 5001: a sentence has more than 5,000 words"),
        (b"\x1f\x8b123", COLUMNS, "its name must end in .gz"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: str | bytes, layout: Layout, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=message) as refused:
        read_sentences(path, layout, "data.path")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_encoding_is_an_option(tmp_path: Path) -> None:
    path = write(tmp_path, "caf\u00e9 NOUN\n".encode("latin-1"))
    (sentence,) = read_sentences(path, Layout("columns", 1, 2, encoding="latin-1"), "data.path")
    assert sentence.words == ("caf\u00e9",)
    path = write(tmp_path, "\ufeffa X\nb Y\n".encode())
    assert read_sentences(path, COLUMNS, "data.path")[0].words == ("a", "b"), "without the byte order mark"


def test_layouts_by_the_name_of_the_file() -> None:
    given: Any = {"format": None, "word": None, "tag": None, "separator": None, "comments": None, "encoding": "utf-8"}
    assert layout_of("a.conllu.gz", **given) == Layout("conllu", "form", "upos", None, "#", "utf-8")
    assert layout_of("a.txt", **given) == Layout("columns", 1, -1, None, None, "utf-8")
    assert layout_of("a.txt", **given | {"format": "conllu", "tag": "xpos"}).tag == "xpos"
    for options, message in (
        ({"tag": "upso", "format": "conllu"}, "data.tag=upso: CoNLL-U has no such column; did you mean 'upos'"),
        ({"tag": "upos"}, "the columns of this file have no names; give a number"),
        ({"word": 0}, "data.word=0: columns are numbered from 1"),
    ):
        with pytest.raises(UserError, match=message):
            layout_of("a.txt", **given | options)


def data(path: Path, **options: Any) -> TaggedFiles:
    return TaggedFiles(path=str(path), **options)


def test_everything_is_fitted_on_the_training_sentences(tmp_path: Path) -> None:
    train = write(tmp_path, "The DET\ndog NOUN\n\nthe DET\ncat NOUN\n")
    val = write(tmp_path, "the DET\n\u00fcber NOUN\n", "val.txt")
    files = data(train, val_path=str(val), test_path=str(val))
    files.setup("fit")
    spec = files.spec
    assert spec.vocabulary == ("<pad>", "<unk>", "the", "cat", "dog")
    assert set(spec.characters) == {"<pad>", "<unk>", *"Thedogcat"}
    assert spec.target == Tags(("DET", "NOUN"), counts=(2, 2))
    (batch,) = files.batches("val")
    assert batch.inputs[0, :, 0].tolist() == [2, UNKNOWN]
    assert batch.inputs[0, 1, 1:5].tolist() == [UNKNOWN, UNKNOWN, spec.characters.index("e"), UNKNOWN], "ü, b, e, r"
    assert files.spec.with_target(spec.target) == spec


def test_held_out_sentences_are_apart(tmp_path: Path) -> None:
    files = data(write(tmp_path, stand_ins.columns(stand_ins.sentences(50))), val_fraction=0.2, test_fraction=0.1)
    parts = [files.sentences("train"), files.sentences("val"), files.sentences("test")]
    assert [len(part) for part in parts] == [36, 9, 5]
    places = [sentence.lines[0] for part in parts for sentence in part]
    assert len({*places}) == 50
    other = data(tmp_path / "train.txt", val_fraction=0.2, test_fraction=0.1, seed=1)
    assert other.sentences("test") == parts[2], "the same for every seed of a run"
    assert other.sentences("val") != parts[1]


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_unseen_tag_is_refused_or_a_mistake(tmp_path: Path, split: str) -> None:
    train = write(tmp_path, "a X\nb Y\n\n" * 5)
    odd = write(tmp_path, "a X\n\nb X\nc Z\n", "odd.txt")
    paths = {"val_path": str(train), "test_path": str(train)} | {f"{split}_path": str(odd)}
    with pytest.raises(UserError, match=r"odd\.txt, line 4: no training word has the tag 'Z'; their tags are X, Y\."):
        data(train, **paths).arrays(split)  # type: ignore[arg-type]
    lenient = data(train, **paths, unseen_tags="wrong")
    assert lenient.arrays(split).tags.tolist() == [0, 0, UNSEEN_TAG]  # type: ignore[arg-type]
    assert "1 words have tags that no training word has, such as Z" in lenient.notes()[0]


def test_spans_that_begin_with_i_are_read_as_iob2(tmp_path: Path) -> None:
    path = write(tmp_path, "Ada I-PER\nL I-PER\nBob B-PER\nx O\nRome I-LOC\n\n" * 10)
    files = data(path)
    files.setup("fit")
    assert files.spec.target.names == ("B-LOC", "B-PER", "I-PER", "O")
    assert files.sentences("train")[0].tags == ("B-PER", "I-PER", "B-PER", "O", "B-LOC")
    assert files.spec.target.are_spans
    assert "spans that begin with I- are read as beginning with B-" in files.notes()[0]


def test_tags_that_only_look_like_spans_are_left_alone(tmp_path: Path) -> None:
    files = data(write(tmp_path, "a I-X\nb NOUN\n\n" * 10))
    files.setup("fit")
    assert files.spec.target.names == ("I-X", "NOUN")
    assert not files.spec.target.are_spans
    assert not Tags(("O",)).are_spans
    assert not Tags(("B-", "O")).are_spans


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a X\nb X\n\n" * 10, {}, "has only one tag, 'X': there is nothing to learn"),
        ("a X\nb Y\n\n" * 10, {"min_count": 100}, "occurs data.min_count=100 times"),
        ("a X\nb Y\n", {}, r"too few sentences \(1\) .* is there a blank line after each sentence\?"),
        ("".join(f"a T{i}\n\n" for i in range(6000)), {}, "has .* classes, but at most 4,096"),
        ("a X\n", {"max_characters": 1}, "data.max_characters=1 must lie between 2 and 1,000"),
        ("a X\n", {"val_fraction": 1.5}, "data.val_fraction=1.5 must lie between 0 and 1"),
    ],
)
def test_data_that_are_refused(tmp_path: Path, content: str, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=message):
        data(path, **options).setup("fit")


def test_a_missing_file_names_its_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path=.*none\.txt"):
        data(tmp_path / "none.txt").setup("fit")


def loader(files: TaggedFiles, batch_size: int = 4) -> SentenceLoader:
    return SentenceLoader(files.arrays("train"), batch_size, shuffle=True)


def test_batches_hold_every_sentence_once_and_count_words(tmp_path: Path) -> None:
    files = data(write(tmp_path, stand_ins.columns(stand_ins.sentences(50))))
    batches = loader(files)
    seen: list[list[int]] = []
    sizes = []
    for x, y, _ in batches:
        assert ((x[..., 0] != PAD) == (y != NO_WORD)).all()
        assert (x[..., 1:].sum(2) > 0).eq(y != NO_WORD).all(), "each word has characters"
        sizes.append(int((y != NO_WORD).sum()))
        seen += [tags[tags != NO_WORD].tolist() for tags in y]
    names = files.spec.target.names
    expected = [[names.index(tag) for tag in sentence.tags] for sentence in files.sentences("train")]
    assert sorted(seen) == sorted(expected)
    assert batches.batch_sizes == sizes


def test_words_of_a_typed_sentence() -> None:
    vocabulary = {"mr.", "do", "n't", "'s", "...", "i", "'m", "(", ")", ":)", "u.s."}

    def knows(word: str) -> bool:
        return word.lower() in vocabulary

    for text, words in {
        "I'm here.": ["I", "'m", "here", "."],
        "the U.S. (now)": ["the", "U.S.", "(", "now", ")"],
        "fine :)": ["fine", ":)"],
        "Wow!!!": ["Wow", "!", "!", "!"],
        "well...": ["well", "..."],
        "O'Hara": ["O'Hara"],
        "''": ["'", "'"],
        "  ": [],
        "Mr. Smith 's do n't .": ["Mr.", "Smith", "'s", "do", "n't", "."],
    }.items():
        assert split_words(text, knows) == words, text


def test_the_treebank_has_published_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.write_treebank(tmp_path, 20, monkeypatch)
    files = EnglishTreebank(data_dir=tmp_path)
    files.prepare_data()
    files.setup("fit")
    assert files.arrays("val").num_rows == 20
    assert pairs(files.sentences("test")) == stand_ins.sentences(20, 2)
    path = tmp_path / files.folder / files.files["val"]
    path.write_text(stand_ins.conllu(stand_ins.sentences(19)))
    with pytest.raises(UserError, match="is damaged: it contains 19 sentences, not 20"):
        EnglishTreebank(data_dir=tmp_path).setup("fit")


def test_a_missing_treebank_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    stand_ins.write_treebank(tmp_path / "there", 20, monkeypatch)
    for path in (tmp_path / "there" / EnglishTreebank.folder).iterdir():
        server.files[path.name] = path.read_bytes()
    files = EnglishTreebank(data_dir=tmp_path / "here", mirrors=server.url)
    files.prepare_data()
    assert server.asked == [*EnglishTreebank.files.values()]
    assert len(files.sentences("train")) == 20


@pytest.mark.realdata
def test_the_real_treebank(real_data_dir: Path) -> None:
    files = EnglishTreebank(data_dir=real_data_dir)
    files.setup("fit")
    assert [sum(map(len, (s.words for s in files.sentences(split)))) for split in ("train", "val")] == [204_577, 25_147]
    assert files.spec.target.names == files.tags().names
    x = next(iter(files.batches("val"))).inputs
    assert torch.equal(x[..., 0] == PAD, x.sum(2) == 0)
