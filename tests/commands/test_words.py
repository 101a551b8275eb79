"""The command that asks word vectors, and the same questions in Python."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dlzoo.commands import words as command
from dlzoo.errors import UserError
from dlzoo.inference.words import Words
from dlzoo.layers.embedding import read_vectors
from dlzoo.metrics import analogies
from dlzoo.utils import word_vectors

NAMES = ["man", "woman", "king", "queen", "apple", "prince"]
VECTORS = np.array(
    [[1, 0, 0.1, 0], [0, 1, 0.1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0.8, 0]], np.float32
)


@pytest.fixture
def file(tmp_path: Path) -> str:
    word_vectors.save(tmp_path / "v.bin", NAMES, VECTORS)
    return f"vectors={tmp_path / 'v.bin'}"


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    command.command(words)
    return capsys.readouterr().out.splitlines()


def test_questions(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    (first, second) = ask(capsys, file, "most_similar=king", "top_k=2")
    assert first.split()[0] == "prince"
    cosine = 1.8 / (2**0.5 * 1.64**0.5)
    assert float(first.split()[1]) == pytest.approx(cosine, abs=1e-4)
    assert second.split()[0] == "man"
    for method in ("add", "mul"):
        assert ask(capsys, file, "analogy=king woman -man", f"method={method}")[0].split()[0] == "queen"
    assert ask(capsys, file, "odd=man king apple prince") == ["apple"]
    assert float(ask(capsys, file, "distance=king prince")[0]) == pytest.approx(1 - cosine, abs=1e-4)
    assert ask(capsys, file, "vector=king") == ["1 0 1 0"]


def test_products_of_similarities_follow_the_paper() -> None:
    words = Words(NAMES, torch.from_numpy(VECTORS))
    (best, score), *_ = words.analogy(["king", "woman"], ["man"], method="mul")
    near = {name: (1 + words.similarity(best, name)) / 2 for name in ("king", "woman", "man")}
    assert score == pytest.approx(near["king"] * near["woman"] / (near["man"] + 1e-3))


def test_vectors_are_written_in_other_formats_and_begin_other_nets(file: str, tmp_path: Path) -> None:
    for name in ("w.bin", "w.txt", "w.glove"):
        command.command([file, f"output={tmp_path / name}"])
        found = read_vectors(str(tmp_path / name), {"king": 2, "Apple": 3}, 4)
        assert found[2].tolist() == [1, 0, 1, 0]
        assert found[3].tolist() == [0, 0, 0, 1]  # in lower case only


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["most_similar=kimg"], r"'kimg' is not among the 6 words; did you mean 'king'"),
        (["analogy=-man"], "at least one word without a minus sign"),
        (["analogy=king -"], r"'' is not among"),
        (["odd=man king"], "give at least three words"),
        (["distance=man"], "give two words"),
        ([], "nothing is asked"),
        (["most_similar=king", "method=mul"], r"method=mul would be ignored"),
        (["most_similar=king", "ckpt=x"], r"not both"),
        (["most_similar=king", "top_k=0"], r"top_k=0"),
    ],
)
def test_mistakes(words: list[str], message: str, file: str) -> None:
    with pytest.raises(UserError, match=message):
        command.command([file, *words])


def test_analogies_are_counted_if_all_words_are_known(tmp_path: Path) -> None:
    path = tmp_path / "questions-words.txt"
    path.write_text(": royal\nman king woman queen\nMan King Woman Queen\nman king woman prince\n: none\na b c d\n")
    words = Words(NAMES, torch.from_numpy(VECTORS))
    sections = analogies.read_questions(path)
    found = [tuple(score) for score in analogies.scores(sections, NAMES, words.units, lower=True)]
    assert found == [("royal", 2, 3, 3), ("none", 0, 0, 1)]
    found = [tuple(score) for score in analogies.scores(sections, NAMES, words.units, most=5)]
    assert found[0] == ("royal", 1, 1, 3)  # neither upper-case words nor rare ones
    path.write_text(": royal\nman king\n")
    with pytest.raises(UserError, match="line 2: expected"):
        analogies.read_questions(path)


def test_of_a_repeated_word_the_first_vector_counts(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("king 1 0\nqueen 0 1\nking 0 2\napple 1 1\n")
    words = Words.read(path, "vectors")
    assert (words.words, words.vector("king").tolist()) == (["king", "queen", "apple"], [1, 0])
    assert "king" not in dict(words.most_similar("king"))
    assert read_vectors(str(path), {"king": 2}, 2)[2].tolist() == [1, 0]


def test_an_unknown_word_is_not_compared_with_long_ones_for_minutes(tmp_path: Path) -> None:
    names = [f"{'abcdefghij' * 9}{i}" for i in range(20_000)]
    words = Words(names, torch.ones(len(names), 1))
    start = time.monotonic()
    with pytest.raises(UserError, match="did you mean"):
        words.number("abcdefghji" * 10)
    assert time.monotonic() - start < 6  # it took 18 seconds
