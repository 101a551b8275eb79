"""Files of tagged words are told from files with a sentence in each line."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlzoo.inference.text_files import sentences

TAGS = ("DET", "NOUN", "VERB", "PUNCT", ".", "O", "B-PER")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog barks .\nA cat sleeps .\nThe cat eats .\nA dog sits .\nThe dog runs .\n", None),
        ("The dog\nA cat\nA bird\nThe sun\nNo tree\nThe end\n", None),
        ("He runs .\n\nShe sits .\n\nIt sleeps .\n\nHe eats .\n\nShe sings .\n", None),
        ("The dog barks\nYes\n", None),
        ("word\nfor\nword\n", None),
        ("The DET\ndog NOUN\n", ["The dog"]),
        ("The DET\ndog NOUN\n\nIt ?\nbarks VERB\n. .\n", ["The dog", "It barks ."]),
        ("The _\ndog _\n\nIt _\n", ["The dog", "It"]),
        ("-DOCSTART- -X- O\n\nAda NNP B-PER\nruns VBZ O\n", ["Ada runs"]),
        ("The AT\ndog NN\n\nIt PP\nbarks VB\nnow RB\n", ["The dog", "It barks now"]),
        ("The\tAT\ndog\tNN\n", ["The dog"]),
    ],
)
def test_a_file_of_a_tagger(text: str, expected: list[str] | None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert sentences(tmp_path / "a.txt", OmegaConf.create({"data": {}}), "utf-8", TAGS) == expected


def test_the_columns_are_those_of_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("NOUN x dog\nVERB y barks\n")
    cfg = OmegaConf.create({"data": {"word": 3, "tag": 1}})
    assert sentences(tmp_path / "a.txt", cfg, "utf-8", TAGS) == ["dog barks"]
    assert sentences(tmp_path / "a.txt", OmegaConf.create({"data": {}}), "utf-8", TAGS) is None
