"""Tokenization by the settings, reversible joining, and vocabularies of the most frequent tokens."""

from __future__ import annotations

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlzoo.specs import bpe
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.plain import from_plain, to_plain
from dlzoo.specs.targets import Classes
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN, Tokenizer, build_vocabulary

TEXT = 'He said: "Don\u2019t!"\n(It\'s  9.99$, naïve_1)'


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        (
            {},
            ["he", "said", ":", '"', "don\u2019t", "!", '"', "(", "it's", "9", ".", "99", "$", ",", "naïve_1", ")"],
        ),
        ({"punctuation": False}, ["he", "said", "don\u2019t", "it's", "9", "99", "naïve_1"]),
        ({"punctuation": False, "lower": False}, ["He", "said", "Don\u2019t", "It's", "9", "99", "naïve_1"]),
        (
            {"punctuation": False, "line_breaks": True},
            ["he", "said", "don\u2019t", "\n", "it's", "9", "99", "naïve_1"],
        ),
        ({"level": "char"}, list(TEXT.lower())),
        ({"level": "char", "lower": False}, list(TEXT)),
    ],
)
def test_text_is_tokenized_according_to_the_settings(options: dict[str, bool], tokens: list[str]) -> None:
    assert list(Tokenizer(**options).splitter()(TEXT)) == tokens  # type: ignore[arg-type]


@given(text=st.text(max_size=60), lower=st.booleans(), punctuation=st.booleans(), line_breaks=st.booleans())
def test_joining_words_is_reversible(text: str, lower: bool, punctuation: bool, line_breaks: bool) -> None:
    tokenizer = Tokenizer("word", lower, punctuation, line_breaks)
    tokens = list(tokenizer.splitter()(text))
    if "'" not in tokens and "\u2019" not in tokens:  # a lone apostrophe may join two words
        assert list(tokenizer.splitter()(tokenizer.join(tokens))) == tokens


MERGES = bpe.fit("the cat sat on the mat. The dog's log, the dogs' logs!\n" * 3, 40)


@given(text=st.text(max_size=60) | st.text("the catsdogl.' \n", max_size=60))
def test_joined_pieces_are_the_text(text: str) -> None:
    tokenizer = Tokenizer("bpe", lower=False, merges=MERGES)
    assert tokenizer.join(tokenizer.splitter()(text)) == text


def test_pieces_are_joined_in_the_order_of_the_merges() -> None:
    """By hand: the pair of the earliest merge is joined first, everywhere in a word."""

    def by_hand(word: str) -> list[str]:
        parts = list(word)
        while pairs := [pair for pair in itertools.pairwise(parts) if pair in MERGES]:
            best = min(pairs, key=MERGES.index)
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = ["".join(best)]
                at += 1
        return parts

    assert ("t", "h") in MERGES or ("h", "e") in MERGES
    for word in ("the", "that", "catalogs", "xthe", "dog"):
        assert list(Tokenizer("bpe", merges=MERGES).splitter()(word)) == by_hand(word)


def test_no_piece_extends_over_words() -> None:
    pieces = bpe.pieces(bpe.fit("to be or not to be\n" * 100, 60))
    assert " be" in pieces
    assert not any(" " in piece[1:] for piece in pieces)


@given(text=st.text(max_size=60))
def test_joined_characters_are_the_text(text: str) -> None:
    tokenizer = Tokenizer("char", lower=False)
    assert tokenizer.join(tokenizer.splitter()(text)) == text


def test_joined_words_read_well() -> None:
    tokens = ["well", ",", "(", "she", "said", ")", "no", "!", "\n", "it", "costs", "$", "5", "."]
    assert Tokenizer().join(tokens) == "well, (she said) no!\nit costs $5."


def test_a_vocabulary_is_the_most_frequent_first() -> None:
    counts = [("rare", 1), ("b", 4), ("a", 4), ("often", 9), ("<unk>", 50)]
    assert build_vocabulary(counts) == (*SPECIAL, "often", "a", "b", "rare")
    assert build_vocabulary(reversed(counts), min_count=2) == (*SPECIAL, "often", "a", "b")  # type: ignore[arg-type]
    assert build_vocabulary(counts, max_vocab=4) == (*SPECIAL, "often", "a")


def spec(**options: object) -> TextSpec:
    return TextSpec(Classes(("no", "yes")), vocabulary=(*SPECIAL, "good", "bad", "."), **options)  # type: ignore[arg-type]


def test_a_spec_encodes_and_decodes_text() -> None:
    assert spec().encode("Good. bad? Good") == [2, 4, 3, UNKNOWN, 2]
    assert spec(max_length=2).encode("Good. bad? Good") == [2, 4]
    assert spec(max_length=2, keep="last").encode("Good. bad? Good") == [UNKNOWN, 2]
    assert spec(keep="last").encode("Good. bad") == [2, 4, 3]
    assert spec().decode([2, 4, 3]) == "good. bad"


def test_a_text_without_tokens_is_one_unknown_token() -> None:
    quiet = spec(tokenizer=Tokenizer(punctuation=False))
    assert spec().encode("") == spec().encode(" \n") == quiet.encode("?!") == [UNKNOWN]


def test_a_spec_is_plain_data() -> None:
    one = spec(tokenizer=Tokenizer("char", lower=False), max_length=7, keep="last")
    plain = to_plain(one)
    assert from_plain(plain) == one
    assert set(plain["tokenizer"]) == {"type", "level", "lower", "punctuation", "line_breaks", "merges"}


def test_examples_of_different_lengths_are_padded() -> None:
    x, y = spec().example(20)
    lengths = (x != PAD).sum(1)
    assert x.shape == (20, lengths.max())
    assert len(set(lengths.tolist())) > 3
    assert lengths.min() >= 1
    assert all(row[:n].all() and not row[n:].any() for row, n in zip(x, lengths.tolist(), strict=True))
    assert y.tolist() == [0, 1] * 10


def test_long_pieces_are_not_copied_for_each_unknown_character() -> None:
    """40,000 characters that no merge knows took 40 GB beside a piece of a megabyte."""
    split = bpe.Splitter((("x" * 10**6, "y"), ("<", "0"), ("<0", ">")))
    assert split("<0>a") == ["<", "0", ">", "a"]
    assert max(map(len, split.tokenizer.encode("abc").tokens)) < 10


def test_merges_are_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """300,000 merges took two seconds for each text."""
    prepared: list[int] = []
    make = bpe._tokenizer
    monkeypatch.setattr(bpe, "_tokenizer", lambda *args: prepared.append(1) or make(*args))
    tokenizer = Tokenizer("bpe", merges=(("l", "o"), ("lo", "w"), ("?", "?")))
    texts = ["low", "Lö", "lower \U0001f600", "", "?????!"]
    assert [[*tokenizer.splitter()(text)] for text in texts] == [
        ["low"], ["l", "ö"], ["low", "e", "r", " ", "\U0001f600"], [], ["??", "??", "?", "!"],
    ]  # fmt: skip
    assert len(prepared) == 1
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
