"""Texts in memory: tokenised once, with a vocabulary fitted on the training rows, in batches of similar length."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.fingerprint import hash_texts
from dlzoo.data.loaders import Loader
from dlzoo.data.options import InMemoryOptions, TokenOptions
from dlzoo.data.splits import holdout
from dlzoo.data.text import cache as text_cache
from dlzoo.data.text.cache import Corpus
from dlzoo.data.text.loaders import BucketLoader, Texts
from dlzoo.errors import UserError, at_least
from dlzoo.specs.base import Spec, Target
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.tokenizer import UNKNOWN, Level, Tokenizer, build_vocabulary

Split = Literal["train", "val", "test"]


class TokenData(InMemoryData):
    """Texts as token ids.

    Subclasses implement `declare`, `read_texts` and `fingerprint`, and define the splits.

    Args:
        level: tokens are words (word) or characters (char).
        lower: convert to lower case.
        punctuation: words only: keep punctuation marks as tokens, or drop them.
        max_vocab: maximum vocabulary size including ``<pad>`` and ``<unk>``; the most frequent tokens are kept.
        min_count: tokens that are less frequent in the training rows become ``<unk>``.
    """

    kind: ClassVar[type[Spec]] = TextSpec
    spec: TextSpec

    def __init__(
        self,
        *,
        level: Level = "word",
        lower: bool = True,
        punctuation: bool = True,
        max_vocab: int | None = None,
        min_count: int = 1,
        **common: Unpack[InMemoryOptions],
    ) -> None:
        super().__init__(**common)
        at_least(3, "data", max_vocab=max_vocab)
        at_least(1, "data", min_count=min_count)
        if self.standardize:
            raise UserError("data.standardize=true: token ids cannot be standardised; omit it")
        self.tokenizer = Tokenizer(level, lower, punctuation)
        self.max_vocab = max_vocab
        self.min_count = min_count
        self._adopted = False

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"punctuation": (self.tokenizer.level == "word", "data.level=word")}

    @abstractmethod
    def declare(self) -> TextSpec: ...

    @abstractmethod
    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        """The texts and labels of one part of the source (such as a file), in a fixed order."""

    def labels(self, part: str) -> list[int]:
        """The labels of one part; subclasses that know them need not read the texts."""
        return self.read_texts(part)[1]

    @abstractmethod
    def fingerprint(self, part: str) -> str:
        """A string that changes whenever the result of `read_texts` does: a hash of its files, and its options."""

    def adopt(self, spec: Spec) -> None:
        """Use the vocabulary and the maximum length of a trained model."""
        if isinstance(spec, TextSpec):
            self.spec = spec
            self._adopted = True

    def corpus(self, part: str) -> Corpus:
        """The tokenised texts of a part, cached on disk."""
        tokenizer, labels = self.corpus_tokenizer, self.labels(part)
        path = text_cache.path_of(self.fingerprint(part), tokenizer)
        corpus = text_cache.load(path, labels, self.num_texts(labels))
        if corpus is None:
            corpus = text_cache.tokenise(*self.read_texts(part), tokenizer)
            text_cache.save(path, corpus)
        return corpus

    def num_texts(self, labels: list[int]) -> int:
        """The number of texts of a part with these labels."""
        return len(labels)

    @property
    def corpus_tokenizer(self) -> Tokenizer:
        """What `corpus` is split by, whatever the training rows."""
        return self.tokenizer

    def fit_vocabulary(self, distinct_tokens: list[str], train: Tensor) -> tuple[str, ...]:
        """The vocabulary of the training tokens, (T,) indices into ``distinct_tokens``."""
        counts = counts_of(distinct_tokens, train)
        vocabulary = build_vocabulary([*counts.items()], min_count=self.min_count, max_vocab=self.max_vocab)
        if len(vocabulary) < 3:
            raise UserError(f"no token of the training rows occurs data.min_count={self.min_count} times: lower it")
        return vocabulary


class TextData(TokenData):
    """Texts with one target each.

    Args:
        max_length: longer texts are truncated to so many tokens.
        keep: truncate to the first or the last tokens.
    """

    def __init__(
        self, *, max_length: int | None = None, keep: Literal["first", "last"] = "first", **common: Unpack[TokenOptions]
    ) -> None:
        super().__init__(**common)
        at_least(1, "data", max_length=max_length)
        self.max_length = max_length
        self.keep: Literal["first", "last"] = keep
        self._locations: dict[str, tuple[str, Tensor]] = {}
        self._texts: dict[str, Texts] = {}

    @abstractmethod
    def locate(self, split: Literal["train", "test"]) -> tuple[str, Tensor]:
        """The part of the source that contains a split (``train`` includes validation), and its row indices there."""

    @abstractmethod
    def target(self) -> Target: ...

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"keep": (self.max_length is not None, "data.max_length")}

    def declare(self) -> TextSpec:
        return TextSpec(self.target(), self.tokenizer, self.max_length, self.keep)

    def setup(self, stage: str | None = None) -> None:
        if stage in (None, "fit", "validate") and "train" not in self._texts:
            self._set_up_fit()
        if stage in (None, "test", "predict") and "test" not in self._texts:
            if not self._adopted and "train" not in self._texts:
                self._set_up_fit()
            part, rows = self._locations["test"] = self.locate("test")
            self._texts["test"] = self.encode(self.corpus(part), rows)

    def arrays(self, split: Split) -> Texts:  # type: ignore[override]  # texts are ragged
        self.setup("test" if split == "test" else "fit")
        return self._texts[split]

    def texts(self, split: Split) -> list[str]:
        """The raw texts of a split, in the order of `arrays`."""
        self.arrays(split)
        part, rows = self._locations[split]
        texts, _ = self.read_texts(part)
        return [texts[i] for i in rows.tolist()]

    def load(self, split: Literal["train", "test"]) -> Texts:  # type: ignore[override]  # texts are ragged
        """The texts of an official split, as indices into the corpus' distinct tokens."""
        part, rows = self.locate(split)
        return as_texts(self.corpus(part)).take(rows)

    def encode(self, corpus: Corpus, rows: Tensor) -> Texts:
        """Rows of a corpus as truncated token ids; an empty text becomes a single unknown token."""
        return encoded(corpus, rows, self.spec.vocabulary, self.spec.max_length, self.spec.keep)

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        part, rows = self.locate("train")
        corpus = self.corpus(part)
        ids, (_, train), (_, val) = self._ids(corpus), *self._split_train(part, rows, corpus)
        return ids[train.numpy()], ids[val.numpy()]

    def test_ids(self) -> np.ndarray:
        part, rows = self.locate("test")
        return self._ids(self.corpus(part))[rows.numpy()]

    def _ids(self, corpus: Corpus) -> np.ndarray:
        """A text is identified by its tokens, independent of the vocabulary, and its label."""
        return hash_texts(corpus.distinct_tokens, corpus.tokens, corpus.starts, corpus.labels)

    def _split_train(self, part: str, rows: Tensor, corpus: Corpus) -> list[tuple[str, Tensor]]:
        """The locations of the training and validation rows, given those of ``train`` in a part of the source."""
        texts = Texts(torch.empty(0), torch.empty(0), torch.from_numpy(corpus.labels)[rows])
        kept, held_out = holdout(texts, self.target(), self._val_size, seed=self.seed, last=self.val_last)
        return [(part, rows[self.training_rows(kept, held_out)]), (part, rows[held_out])]

    def _set_up_fit(self) -> None:
        part, rows = self.locate("train")
        corpus = self.corpus(part)
        self._locations |= zip(("train", "val"), self._split_train(part, rows, corpus), strict=True)
        if not self._adopted:
            train = as_texts(corpus).take(self._locations["train"][1])
            vocabulary = self.fit_vocabulary(corpus.distinct_tokens, train.tokens)
            spec = dataclasses.replace(self.declare(), vocabulary=vocabulary)
            self.spec = spec.with_target(spec.target.fit(train.y))
        self._texts |= {split: self.encode(corpus, self._locations[split][1]) for split in ("train", "val")}

    @property
    def _val_size(self) -> int | float:
        return self.val_fraction if self.val_size is None else self.val_size

    def _loader(self, split: Split, batch_size: int, shuffle: bool = False) -> Loader:
        texts = self.arrays(split)
        return BucketLoader(texts.to(self._home(texts.num_bytes)), batch_size, shuffle=shuffle, seed=self.seed)


def as_texts(corpus: Corpus) -> Texts:
    """A corpus as tensors, where an empty text has one token with the index after the last distinct token."""
    tokens, starts = corpus.tokens, corpus.starts
    empty = np.flatnonzero(np.diff(starts) == 0)
    if len(empty):
        tokens = np.insert(tokens, starts[empty], len(corpus.distinct_tokens))
        starts = starts + np.concatenate([[0], np.cumsum(np.diff(starts) == 0)])
    return Texts(torch.from_numpy(tokens), torch.from_numpy(starts), torch.from_numpy(corpus.labels))


def counts_of(distinct_tokens: list[str], tokens: Tensor) -> Counter[str]:
    """How often each token occurs in (T,) indices into ``distinct_tokens``; without those that do not occur."""
    counts = tokens.bincount(minlength=len(distinct_tokens))[: len(distinct_tokens)].tolist()
    return Counter({token: count for token, count in zip(distinct_tokens, counts, strict=True) if count})


def encoded(
    corpus: Corpus,
    rows: Tensor,
    vocabulary: Sequence[str],
    max_length: int | None = None,
    keep: Literal["first", "last"] = "first",
) -> Texts:
    """Rows of a corpus as token ids, truncated; an empty text becomes a single unknown token."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    table = torch.tensor([*(ids.get(token, UNKNOWN) for token in corpus.distinct_tokens), UNKNOWN], dtype=torch.int32)
    texts = as_texts(corpus).take(rows, max_length, keep)
    return dataclasses.replace(texts, tokens=table[texts.tokens])
