"""A published treebank, whose words have universal parts of speech."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

from dlzoo.data.options import TaggedOptions
from dlzoo.data.text.conll import Layout, Sentence, read_sentences
from dlzoo.data.text.tagged import Split, TaggedData
from dlzoo.errors import UserError
from dlzoo.specs.sentences import Tags
from dlzoo.utils.download import damaged, download, find, folder_of, mirrors_of

UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ",
    "SYM", "VERB", "X",
)  # fmt: skip
"""The universal parts of speech (https://universaldependencies.org/u/pos)."""


class EnglishTreebank(TaggedData):
    """16,622 sentences of blogs, newsgroups, e-mails, reviews and answers, 254,820 words: UD English-EWT.

    Source: N. Silveira et al., "A Gold Standard Dependency Corpus for English", 2014; Universal Dependencies 2. Files:
    ``UD_English-EWT/en_ewt-ud-train.conllu``, 12,544 sentences, ``…-dev.conllu``, 2,001 for validation, and
    ``…-test.conllu``, 2,077. Each release corrects some tags, so any with these numbers of sentences is read.

    Args:
        data_dir: the folder of all data sets.
        mirrors: base URLs to download from, in place of the default ones.
        column: the tags: universal parts of speech, those of the Penn Treebank (xpos), or grammatical relations.
    """

    default_mirrors: ClassVar[tuple[str, ...]] = (
        "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.17",
    )
    folder: ClassVar[str] = "UD_English-EWT"
    files: ClassVar[dict[Split, str]] = {
        "train": "en_ewt-ud-train.conllu",
        "val": "en_ewt-ud-dev.conllu",
        "test": "en_ewt-ud-test.conllu",
    }
    num_sentences: ClassVar[dict[Split, int]] = {"train": 12_544, "val": 2_001, "test": 2_077}
    max_bytes: ClassVar[int] = 50_000_000

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        column: Literal["upos", "xpos", "deprel"] = "upos",
        **common: Unpack[TaggedOptions],
    ) -> None:
        super().__init__(**common)
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, self.default_mirrors)
        self.layout = Layout("conllu", "form", column, comments="#")

    def prepare_data(self) -> None:
        folder = self.data_dir / self.folder
        for name in self.files.values():
            if find(folder, name) is None:
                download(name, folder=folder, mirrors=self.mirrors, max_bytes=self.max_bytes)

    def tags(self) -> Tags:
        return Tags(UPOS) if self.layout.tag == "upos" and not self._adopted else super().tags()

    def target_key(self) -> str:
        return "data.column"

    def place(self, split: Split) -> str:
        return str(self.data_dir / self.folder / self.files[split])

    def read_split(self, split: Split) -> list[Sentence]:
        path = find(self.data_dir / self.folder, self.files[split])
        if path is None:
            raise UserError(f"{self.place(split)} does not exist: call prepare_data() first, it downloads it")
        sentences = read_sentences(path, self.layout, "data.data_dir")
        if len(sentences) != self.num_sentences[split]:
            raise damaged(path, f"it contains {len(sentences):,} sentences, not {self.num_sentences[split]:,}")
        return sentences
