"""Running text for language models: one long sequence of tokens, split into training, validation and test in order."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.fingerprint import hash_pieces
from dlzoo.data.loaders import Loader
from dlzoo.data.options import StreamBaseOptions, StreamOptions
from dlzoo.data.text.base import Split, TokenData
from dlzoo.data.text.loaders import PassageLoader, StreamLoader
from dlzoo.data.text.published import SentimentSentences, prepare_sentences, read_sentences, sentence_files
from dlzoo.data.text_reader import content_of, read_text, with_line_feeds
from dlzoo.errors import UserError, at_least, between
from dlzoo.specs import bpe
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.targets import NextTokens
from dlzoo.specs.tokenizer import SPECIAL, UNKNOWN, RunningLevel, Tokenizer
from dlzoo.utils import files as paths
from dlzoo.utils.download import folder_of, mirrors_of

NAMES = {"train": "training", "val": "validation", "test": "test"}
"""Of the splits, in messages."""


class StreamData(TokenData):
    """One long text, of which each token is predicted from the preceding ones.

    The first part is for training, the next for validation, the last for testing: adjacent passages are similar, so
    random splits would leak.

    Pieces of words (``level=bpe``) are fitted to the characters of the training text, the same split for all levels, so
    that their losses per character can be compared; ``max_vocab`` is their number, with all characters.

    Args:
        num_steps: tokens per training batch in each of its ``batch_size`` streams, the length of truncated BPTT.
        eval_num_steps: tokens per passage in validation and test, see `PassageLoader`.
        test_fraction: fraction of the text for testing.
        line_breaks: words only: make line breaks tokens.
    """

    is_ordered = True

    def __init__(
        self,
        *,
        level: RunningLevel = "char",
        lower: bool = False,
        num_steps: int = 64,
        eval_num_steps: int = 1024,
        eval_batch_size: int = 16,
        test_fraction: float = 0.1,
        line_breaks: bool = True,
        **common: Unpack[StreamBaseOptions],
    ) -> None:
        super().__init__(lower=lower, eval_batch_size=eval_batch_size, **common)
        if level == "bpe" and self.max_vocab is None:
            raise UserError("data.level=bpe needs data.max_vocab, the number of pieces, such as 1000")
        at_least(1, "data", num_steps=num_steps, eval_num_steps=eval_num_steps)
        between(0, 1, "data", test_fraction=test_fraction, exclusive=True)
        has_breaks = line_breaks and level == "word"
        self.tokenizer = dataclasses.replace(self.tokenizer, level=level, line_breaks=has_breaks)
        self.num_steps = num_steps
        self.eval_num_steps = eval_num_steps
        self.test_fraction = test_fraction
        self._streams: dict[str, Tensor] = {}

    @abstractmethod
    def text(self) -> str:
        """The whole text."""

    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        return [self.text()], []

    def labels(self, part: str) -> list[int]:
        return []

    def num_texts(self, labels: list[int]) -> int:
        return 1

    def declare(self) -> TextSpec:
        return TextSpec(NextTokens(2, self.num_steps), self.tokenizer)

    @property
    def corpus_tokenizer(self) -> Tokenizer:
        return Tokenizer("char", self.tokenizer.lower) if self.tokenizer.level == "bpe" else self.tokenizer

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"min_count": (self.tokenizer.level != "bpe", "data.level=word or char")}

    def setup(self, stage: str | None = None) -> None:
        if self._streams:
            return
        corpus = self.corpus("all")
        tokens = torch.from_numpy(corpus.tokens)
        parts = dict(zip(("train", "val", "test"), tokens.split(self._sizes(len(tokens))), strict=True))
        if not self._adopted:
            self._fit(corpus.distinct_tokens, parts["train"])
        ids = {token: i for i, token in enumerate(self.spec.vocabulary)}
        if self.tokenizer.level == "bpe":
            split = bpe.Splitter(self.spec.tokenizer.merges)
            pieces = {name: split(_text(corpus.distinct_tokens, part)) for name, part in parts.items()}
            if short := next((name for name, part in pieces.items() if len(part) < 2), None):
                raise UserError(
                    f"the {NAMES[short]} part of the text is a single piece of a word: give more text, or lower "
                    "data.max_vocab"
                )
            self._streams = {
                name: torch.tensor([ids.get(piece, UNKNOWN) for piece in part]) for name, part in pieces.items()
            }
            return
        table = torch.tensor([ids.get(token, UNKNOWN) for token in corpus.distinct_tokens])
        self._streams = {name: table[part] for name, part in parts.items()}

    def _fit(self, distinct_tokens: list[str], train: Tensor) -> None:
        """The vocabulary of the training text, and the merges of its pieces."""
        spec = self.declare()
        if self.tokenizer.level == "bpe":
            text = _text(distinct_tokens, train)
            characters = sorted({*text})
            assert self.max_vocab is not None
            if self.max_vocab < len(SPECIAL) + len(characters):
                raise UserError(
                    f"data.max_vocab={self.max_vocab} is too small: the training text has {len(characters)} different "
                    f"characters, which with {' and '.join(SPECIAL)} need {len(SPECIAL) + len(characters)}"
                )
            merges = bpe.fit(text, self.max_vocab - len(SPECIAL))
            spec = dataclasses.replace(spec, tokenizer=dataclasses.replace(self.tokenizer, merges=merges))
            vocabulary = (*SPECIAL, *dict.fromkeys((*characters, *bpe.pieces(merges))))
        else:
            vocabulary = self.fit_vocabulary(distinct_tokens, train)
        target = NextTokens(len(vocabulary), self.num_steps)
        self.spec = dataclasses.replace(spec, vocabulary=vocabulary, target=target)

    def arrays(self, split: Split) -> Tensor:  # type: ignore[override]  # a stream has no rows
        """The tokens (N,) int64 of a split."""
        self.setup()
        return self._streams[split]

    def load(self, split: Literal["train", "test"]) -> Tensor:  # type: ignore[override]  # a stream has no rows
        return self.arrays(split)

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        train, val, _ = self._piece_ids()
        return train, val

    def test_ids(self) -> np.ndarray:
        return self._piece_ids()[2]

    def _piece_ids(self) -> list[np.ndarray]:
        """Ids of the pieces of each split, determined by their tokens, independent of the vocabulary."""
        corpus = self.corpus("all")
        ends = np.cumsum(self._sizes(len(corpus.tokens)))
        return [hash_pieces(corpus.distinct_tokens, tokens) for tokens in np.split(corpus.tokens, ends[:-1])]

    def _sizes(self, n: int) -> list[int]:
        """Numbers of tokens for training, validation and test."""
        num_test = round(n * self.test_fraction)
        num_val = round((n - num_test) * self.val_fraction) if self.val_size is None else self.val_size
        sizes = [n - num_test - num_val, num_val, num_test]
        if min(sizes) < 2:
            given = f"data.val_fraction={self.val_fraction}" if self.val_size is None else f"data.val_size={num_val}"
            raise UserError(
                f"a text of {n} tokens leaves {max(sizes[0], 0)} for training, {num_val} for validation ({given}) and "
                f"{num_test} for testing (data.test_fraction={self.test_fraction}); each must have at least 2"
            )
        return sizes

    def _loader(self, split: Split, batch_size: int, shuffle: bool = False) -> Loader:
        tokens = self.arrays(split)
        tokens = tokens.to(self._home(tokens.numel() * tokens.element_size()))
        if shuffle:
            return StreamLoader(tokens, batch_size, num_steps=self.num_steps, seed=self.seed)
        return PassageLoader(tokens, batch_size, num_steps=self.eval_num_steps)


def _text(distinct_tokens: list[str], characters: Tensor) -> str:
    """The text of these indices of characters."""
    return "".join(map(distinct_tokens.__getitem__, characters.tolist()))


class TextFile(StreamData):
    """A text file, or all text files of a folder in alphabetical order.

    Args:
        path: the file, or a folder of ``.txt`` files.
        encoding: Python's name of the encoding, such as latin-1.
    """

    def __init__(self, *, path: str, encoding: str = "utf-8-sig", **common: Unpack[StreamOptions]) -> None:
        super().__init__(**common)
        self.path = path
        self.encoding = encoding

    def text(self) -> str:
        texts = [read_text(file, self.encoding) for file in self._files]
        return "\n".join(texts if self._keeps_returns else map(with_line_feeds, texts))

    def fingerprint(self, part: str) -> str:
        line_ends = "as they are" if self._keeps_returns else "line feeds"
        total = hashlib.blake2b(f"{self.encoding} {line_ends}".encode(), digest_size=16)
        for file in self._files:
            total.update(hashlib.blake2b(content_of(file)).digest())
        return total.hexdigest()

    @property
    def _keeps_returns(self) -> bool:
        """Whether carriage returns are tokens, as in models of earlier versions."""
        return self._adopted and "\r" in self.spec.vocabulary

    @property
    def _files(self) -> list[Path]:
        path = paths.existing(self.path, "data.path")
        files = sorted(file for file in path.glob("*.txt") if file.is_file()) if path.is_dir() else [path]
        if not any(file.stat().st_size for file in files):
            raise UserError(f"data.path={self.path} contains no text" + " (.txt files)" * path.is_dir())
        return files


class SentencesStream(StreamData):
    """The 3,000 sentences of `SentimentSentences` without their labels, one per line, in a fixed random order.

    Args:
        data_dir: the folder of all data sets.
        mirrors: base URLs to download from, in place of the default ones.
    """

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] = "data",
        mirrors: str | Sequence[str] | None = None,
        **common: Unpack[StreamOptions],
    ) -> None:
        super().__init__(**common)
        self.data_dir = folder_of(data_dir)
        self.mirrors = mirrors_of(mirrors, SentimentSentences.default_mirrors)

    def prepare_data(self) -> None:
        prepare_sentences(self.data_dir, self.mirrors)

    def text(self) -> str:
        sentences, _ = read_sentences(self.data_dir)
        random.Random(0).shuffle(sentences)  # the files are of three kinds
        return "".join(f"{sentence}\n" for sentence in sentences)

    def fingerprint(self, part: str) -> str:
        total = hashlib.blake2b(digest_size=16)
        for content in sentence_files(self.data_dir).values():
            total.update(hashlib.blake2b(content).digest())
        return f"stream {total.hexdigest()}"
