"""Generated sentences with tags: the tag of a word depends on its ending and, for some words, on the word before."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

STEMS = ("gar", "mol", "tis", "ren", "bod", "kel", "fum", "lart", "sep", "vin")
ENDINGS = {"NOUN": "ok", "VERB": "ize", "ADV": "ly", "ADJ": "ous"}
AMBIGUOUS = "walk"
"""A noun after "the", else a verb."""

Pairs = list[tuple[str, str]]


def sentence(draw: random.Random) -> Pairs:
    pairs: Pairs = []
    for _ in range(draw.randint(1, 5)):
        kind = draw.choice(("the", "word", "walk"))
        if kind == "the":
            noun = AMBIGUOUS if draw.random() < 0.5 else draw.choice(STEMS) + ENDINGS["NOUN"]
            pairs += [("the", "DET"), (noun, "NOUN")]
        elif kind == "word":
            tag = draw.choice([*ENDINGS])
            stem = draw.choice(STEMS) + draw.choice(("", *STEMS))
            pairs.append((stem + ENDINGS[tag], tag))
        else:
            pairs.append((AMBIGUOUS, "VERB"))
    first, tag = pairs[0]
    return [(first.capitalize(), tag), *pairs[1:], (".", "PUNCT")]


def sentences(num: int, seed: int = 0) -> list[Pairs]:
    draw = random.Random(seed)
    return [sentence(draw) for _ in range(num)]


def conllu(given: list[Pairs]) -> str:
    """As CoNLL-U, with comments, a range and an empty node in each sentence."""
    blocks = []
    for i, pairs in enumerate(given):
        lines = [f"# sent_id = {i}", f"# text = {' '.join(word for word, _ in pairs)}", "1-2\tboth" + "\t_" * 8]
        lines += [f"{k}\t{word}\t{word}\t{tag}" + "\t_" * 6 for k, (word, tag) in enumerate(pairs, 1)]
        lines += ["1.1\tnothing" + "\t_" * 8]
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)


def columns(given: list[Pairs], separator: str = " ") -> str:
    """As in the CoNLL-2003 shared task: word, two other columns, tag."""
    blocks = ["\n".join(separator.join((word, "X", "Y", tag)) for word, tag in pairs) for pairs in given]
    return "-DOCSTART- -X- -X- O\n\n".replace(" ", separator) + "\n\n".join(blocks) + "\n"


def write_conllu(folder: Path, num: int = 120) -> tuple[str, ...]:
    """Files of training, validation and test sentences; the words of a run on them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["data=conll"]
    for seed, (key, name, size) in enumerate(
        (("path", "train", num), ("val_path", "dev", num // 3), ("test_path", "test", num // 3))
    ):
        path = folder / f"{name}.conllu"
        path.write_text(conllu(sentences(size, seed)))
        words.append(f"data.{key}={path}")
    return tuple(words)


def write_treebank(data_dir: Path, num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three files of the published treebank, with fewer sentences, whose tags are universal ones."""
    from dlzoo.data.text.treebank import EnglishTreebank

    folder = data_dir / EnglishTreebank.folder
    folder.mkdir(parents=True)
    for seed, (split, name) in enumerate(EnglishTreebank.files.items()):
        (folder / name).write_text(conllu(sentences(num, seed)))
        monkeypatch.setitem(EnglishTreebank.num_sentences, split, num)


NAMES = ("Ada", "Alan", "Grace", "Kurt", "Emmy")
PLACES = ("Paris", "Rome", "Oslo")


def named_sentences(num: int, seed: int = 0) -> list[Pairs]:
    """Sentences with names of people and places, in IOB2."""
    draw = random.Random(seed)
    found = []
    for _ in range(num):
        people = [draw.choice(NAMES) for _ in range(draw.randint(1, 2))]
        pairs = [(name, "I-PER" if i else "B-PER") for i, name in enumerate(people)]
        pairs += [("went", "O"), ("to", "O"), (draw.choice(PLACES), "B-LOC"), (".", "O")]
        found.append(pairs)
    return found
