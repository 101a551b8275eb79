"""Texts in memory: cut into tokens once, with a vocabulary of the training rows, in batches of like length."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.base import InMemoryData
from dlzoo.data.fingerprint import hash_texts
from dlzoo.data.loaders import Loader
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
    """Texts as numbers of tokens.

    A source implements `declare`, `read_texts` and `fingerprint`, and says where its splits lie.

    Args:
        level: of the tokens: word, or char.
        lower: whether upper and lower case are the same.
        punctuation: words only: whether signs are tokens, or left out.
        max_vocab: the most tokens of the vocabulary, ``<pad>`` and ``<unk>`` among them; the most frequent stay.
        min_count: tokens that occur less often in the training rows become ``<unk>``.
    """

    kind: ClassVar[type] = TextSpec
    spec: TextSpec

    def __init__(
        self,
        *,
        level: Level = "word",
        lower: bool = True,
        punctuation: bool = True,
        max_vocab: int | None = None,
        min_count: int = 1,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        at_least(3, "data", max_vocab=max_vocab)
        at_least(1, "data", min_count=min_count)
        if self.standardize:
            raise UserError("data.standardize=true: tokens have no mean; remove it for texts")
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
        """The texts of a part of the source and their labels, in a fixed order."""

    @abstractmethod
    def fingerprint(self, part: str) -> str:
        """What changes whenever `read_texts` would give something else: a hash of its files, and its options."""

    def adopt(self, spec: Spec) -> None:
        """The vocabulary and the length are the trained model's."""
        if spec.texts is not None:
            self.spec = spec.texts
            self._adopted = True

    def corpus(self, part: str) -> Corpus:
        """The tokens of a part, from the cache where they are there."""
        path = text_cache.path_of(self.fingerprint(part), self.tokenizer)
        corpus = text_cache.load(path)
        if corpus is None:
            corpus = text_cache.tokenise(*self.read_texts(part), self.tokenizer)
            text_cache.save(path, corpus)
        return corpus

    def fit_vocabulary(self, words: list[str], train: Tensor) -> tuple[str, ...]:
        """The vocabulary of the training tokens (T,), which are numbers of ``words``."""
        counts = train.bincount(minlength=len(words))[: len(words)].tolist()
        seen = [(word, count) for word, count in zip(words, counts, strict=True) if count]
        vocabulary = build_vocabulary(seen, min_count=self.min_count, max_vocab=self.max_vocab)
        if len(vocabulary) < 3:
            raise UserError(f"no token of the training rows occurs data.min_count={self.min_count} times: lower it")
        return vocabulary


class TextData(TokenData):
    """Texts with a target each.

    Args:
        max_length: of longer texts, only so many tokens count.
        keep: which of them: the first or the last.
    """

    def __init__(
        self, *, max_length: int | None = None, keep: Literal["first", "last"] = "first", **common: Any
    ) -> None:
        super().__init__(**common)
        at_least(1, "data", max_length=max_length)
        self.max_length = max_length
        self.keep: Literal["first", "last"] = keep
        self._places: dict[str, tuple[str, Tensor]] = {}
        self._texts: dict[str, Texts] = {}

    @abstractmethod
    def place(self, split: Literal["train", "test"]) -> tuple[str, Tensor]:
        """The part of the source that holds a split (``train`` with the validation rows), and the rows' numbers."""

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
            part, rows = self._places["test"] = self.place("test")
            self._texts["test"] = self.encode(self.corpus(part), rows)

    def arrays(self, split: Split) -> Texts:  # type: ignore[override]  # texts are ragged
        self.setup("test" if split == "test" else "fit")
        return self._texts[split]

    def texts(self, split: Split) -> list[str]:
        """The texts of a split as they are written, in the order of `arrays`."""
        self.arrays(split)
        part, rows = self._places[split]
        texts, _ = self.read_texts(part)
        return [texts[i] for i in rows.tolist()]

    def load(self, split: Literal["train", "test"]) -> Any:
        """The texts of an official split, as numbers of the corpus' words."""
        part, rows = self.place(split)
        return _as_texts(self.corpus(part)).take(rows)

    def encode(self, corpus: Corpus, rows: Tensor) -> Texts:
        """Rows of a corpus as numbers of the vocabulary, cut to length; one without tokens is one unknown token."""
        spec = self.spec
        numbers = {token: i for i, token in enumerate(spec.vocabulary)}
        table = torch.tensor([*(numbers.get(word, UNKNOWN) for word in corpus.words), UNKNOWN], dtype=torch.int32)
        texts = _as_texts(corpus).take(rows, spec.max_length, spec.keep)
        return dataclasses.replace(texts, tokens=table[texts.tokens])

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        part, rows = self.place("train")
        corpus = self.corpus(part)
        ids, (_, train), (_, val) = self._ids(corpus), *self._fit_places(part, rows, corpus)
        return ids[train.numpy()], ids[val.numpy()]

    def test_ids(self) -> np.ndarray:
        part, rows = self.place("test")
        return self._ids(self.corpus(part))[rows.numpy()]

    def _ids(self, corpus: Corpus) -> np.ndarray:
        """A text is known by its tokens, whatever the vocabulary, and its label."""
        return hash_texts(corpus.words, corpus.tokens, corpus.starts, corpus.labels)

    def _fit_places(self, part: str, rows: Tensor, corpus: Corpus) -> list[tuple[str, Tensor]]:
        """Where the training and the validation rows are, of the rows of ``train`` in a part of the source."""
        texts = Texts(torch.empty(0), torch.empty(0), torch.from_numpy(corpus.labels)[rows])
        keep, held = holdout(texts, self.target(), self._val_size, seed=self.seed, last=self.val_last)
        return [(part, rows[self.for_training(keep, held)]), (part, rows[held])]

    def _set_up_fit(self) -> None:
        part, rows = self.place("train")
        corpus = self.corpus(part)
        self._places |= zip(("train", "val"), self._fit_places(part, rows, corpus), strict=True)
        if not self._adopted:
            train = _as_texts(corpus).take(self._places["train"][1])
            vocabulary = self.fit_vocabulary(corpus.words, train.tokens)
            spec = dataclasses.replace(self.declare(), vocabulary=vocabulary)
            self.spec = spec.with_target(spec.target.fit(train.y))
        self._texts |= {split: self.encode(corpus, self._places[split][1]) for split in ("train", "val")}

    @property
    def _val_size(self) -> int | float:
        return self.val_fraction if self.val_size is None else self.val_size

    def _loader(self, split: Split, batch_size: int, shuffle: bool = False) -> Loader:
        texts = self.arrays(split)
        return BucketLoader(texts.to(self._home(texts.num_bytes)), batch_size, shuffle=shuffle, seed=self.seed)


def _as_texts(corpus: Corpus) -> Texts:
    """A corpus as tensors, where an empty text holds the one token behind the last of ``words``."""
    tokens, starts = corpus.tokens, corpus.starts
    empty = np.flatnonzero(np.diff(starts) == 0)
    if len(empty):
        tokens = np.insert(tokens, starts[empty], len(corpus.words))
        starts = starts + np.concatenate([[0], np.cumsum(np.diff(starts) == 0)])
    return Texts(torch.from_numpy(tokens), torch.from_numpy(starts), torch.from_numpy(corpus.labels))
