"""The user's own tagged sentences, in files of CoNLL-U or with other columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from dlzoo.data.options import TaggedOptions
from dlzoo.data.splits import holdout
from dlzoo.data.text.conll import FormatName, Sentence, SeparatorName, layout_of, read_sentences
from dlzoo.data.text.tagged import Split, TaggedData
from dlzoo.errors import UserError, between
from dlzoo.specs.targets import Unlabelled

KEYS: dict[Split, str] = {"train": "path", "val": "val_path", "test": "test_path"}


@dataclass(frozen=True)
class _Rows:
    """What `holdout` needs."""

    num_rows: int
    y: Tensor


class TaggedFiles(TaggedData):
    """Sentences from files with a line for each word and a blank line after each sentence.

    Args:
        path: the file of the training sentences, which may be compressed as .gz, .bz2 or .xz.
        val_path: a file of validation sentences, in place of ``val_fraction``.
        test_path: a file of test sentences, in place of ``test_fraction``; it is read when the test begins.
        format: conllu (ten columns between tabs) or columns (any); by default by the name, .conllu.
        word: the column of words, by number from 1, from the end by -1, -2, …, or by its name in CoNLL-U (form, lemma);
            by default form, or the first.
        tag: the column of tags, likewise (upos, xpos, feats, deprel); by default upos, or the last, as in CoNLL-2003.
        separator: between columns, tab or whitespace; by default tabs if the first line has any.
        comments: lines that start with this are skipped; by default # in CoNLL-U, and none in others.
        encoding: Python's name of the files' encoding, such as latin-1.
        val_fraction: fraction of the training sentences held out for validation.
        test_fraction: fraction of the sentences of ``path`` in the test set.
        test_seed: selects the test sentences; independent of the run's seed, so that runs are comparable.
    """

    def __init__(
        self,
        *,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        format: FormatName | None = None,
        word: int | str | None = None,
        tag: int | str | None = None,
        separator: SeparatorName | None = None,
        comments: str | None = None,
        encoding: str = "utf-8-sig",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        test_seed: int = 0,
        **common: Unpack[TaggedOptions],
    ) -> None:
        super().__init__(**common)
        between(0, 1, "data", val_fraction=val_fraction, test_fraction=test_fraction, exclusive=True)
        self.paths: dict[Split, str | None] = {"train": path, "val": val_path, "test": test_path}
        self.layout = layout_of(
            path, format=format, word=word, tag=tag, separator=separator, comments=comments, encoding=encoding
        )
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.test_seed = test_seed
        self._files: dict[str, list[Sentence]] = {}

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        tests = (self.paths["test"] is None, "data.test_path=null")
        return super().option_uses() | {
            "val_fraction": (self.paths["val"] is None, "data.val_path=null"),
            "test_fraction": tests,
            "test_seed": tests,
        }

    def place(self, split: Split) -> str:
        return self.paths[split] or str(self.paths["train"])

    def target_key(self) -> str:
        return f"data.tag={self.layout.tag}"

    def read_split(self, split: Split) -> list[Sentence]:
        if self.paths[split] is not None and split != "train":
            return self._read(split)
        sentences = self._read("train")
        if len(sentences) < 3 and None in self.paths.values():
            raise UserError(
                f"{self.place('train')} has too few sentences ({len(sentences)}) to hold some of them out: is there a "
                "blank line after each sentence? Else give data.val_path and data.test_path"
            )
        rest = torch.arange(len(sentences))
        held: dict[Split, Tensor] = {}
        for part, fraction, seed in (
            ("test", self.test_fraction, self.test_seed),
            ("val", self.val_fraction, self.seed),
        ):
            if self.paths[part] is None:  # type: ignore[index]
                rows = _Rows(len(rest), torch.empty(0))
                kept, held_out = holdout(rows, Unlabelled(), fraction, seed=seed)
                rest, held[part] = rest[kept], rest[held_out]  # type: ignore[index]
        return [sentences[i] for i in held.get(split, rest).tolist()]

    def _read(self, split: Split) -> list[Sentence]:
        path = str(self.paths[split])
        if path not in self._files:
            self._files[path] = read_sentences(path, self.layout, f"data.{KEYS[split]}")
        return self._files[path]
