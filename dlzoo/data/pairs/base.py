"""Pairs of texts: tokenised once, with vocabularies of both sides that are fitted on the training rows."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from typing import Literal, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor

from dlzoo.data.fingerprint import hash_names
from dlzoo.data.loaders import Loader
from dlzoo.data.options import PairBaseOptions
from dlzoo.data.pairs import pieces
from dlzoo.data.pairs.loaders import PairLoader, Pairs
from dlzoo.data.splits import holdout, holdout_groups
from dlzoo.data.text.base import Split, TokenData, as_texts, counts_of, encoded
from dlzoo.data.text.cache import Corpus
from dlzoo.data.text.loaders import Texts
from dlzoo.errors import UserError, between, ignored_option
from dlzoo.specs.base import Spec
from dlzoo.specs.checks import MAX_OUTPUT_LENGTH
from dlzoo.specs.inputs import TextSpec
from dlzoo.specs.token_sequences import END, TARGET_SPECIAL, TokenSequences
from dlzoo.specs.tokenizer import SPECIAL, RunningLevel, Tokenizer, build_vocabulary

SIDES = ("source", "target")
TOGETHER = "pairs that share a sentence stay together"
"""Why pairs are held out in groups, for messages."""


class Table(NamedTuple):
    """All pairs of the data, in a fixed order."""

    sources: list[str]
    targets: list[str]


class PairData(TokenData):
    """Pairs of texts: the first of each is the input, the second what is to be written.

    Subclasses implement `table`, `test_rows` and `fingerprint`, and may define `groups`.

    Args:
        level: tokens are words, characters, or pieces of words (bpe), whose number is ``max_vocab``.
        lower: convert to lower case.
        max_length: pairs with more tokens on one of their sides are left out; at most 2,000.
        shared_vocabulary: one vocabulary of both sides, for net.embeddings=shared.
    """

    is_text = True
    """Whether outputs are sentences, which BLEU and chrF can compare."""

    def __init__(
        self,
        *,
        level: RunningLevel = "word",
        lower: bool = True,
        max_length: int = 50,
        shared_vocabulary: bool = False,
        **common: Unpack[PairBaseOptions],
    ) -> None:
        super().__init__(lower=lower, **common)
        between(1, MAX_OUTPUT_LENGTH, "data", max_length=max_length)
        for key, value in {"val_last": self.val_last, "train_per_class": self.train_per_class}.items():
            if value:
                raise ignored_option(f"data.{key}", value, "data that have an order or classes, and pairs have neither")
        if level == "bpe" and self.max_vocab is None:
            raise UserError("data.level=bpe needs data.max_vocab, the number of pieces, such as 4000")
        self.tokenizer = dataclasses.replace(self.tokenizer, level=level)
        self.max_length = max_length
        self.shared_vocabulary = shared_vocabulary
        self._pairs: dict[str, Pairs] = {}
        self._indices: dict[str, Tensor] = {}
        self._notes: list[str] = []

    @abstractmethod
    def table(self) -> Table:
        """All pairs, those of the test included."""

    @abstractmethod
    def test_rows(self) -> Tensor:
        """Indices (n,) of the test rows, sorted."""

    def groups(self) -> Tensor | None:
        """(N,) groups of rows that must lie on the same side of a split; None if rows are independent."""
        return None

    def read_texts(self, part: str) -> tuple[list[str], list[int]]:
        texts = self.table()[SIDES.index(part)]
        return texts, [0] * len(texts)

    def notes(self) -> list[str]:
        return self._notes

    def option_uses(self) -> dict[str, tuple[bool, str]]:
        return super().option_uses() | {"min_count": (self.tokenizer.level != "bpe", "data.level=word or char")}

    def declare(self) -> TextSpec:
        return TextSpec(self._declared_target(), self.tokenizer, self.max_length)

    def _declared_target(self) -> TokenSequences:
        return TokenSequences(self.tokenizer, max_length=self.max_length, is_text=self.is_text)

    # ------------------------------------------------------------------ set-up

    def setup(self, stage: str | None = None) -> None:
        if self._pairs:
            return
        rows = self._split()
        tokenizers = self._tokenizers(rows["train"])
        corpora = [self._tokenised(side, tokenizer) for side, tokenizer in zip(SIDES, tokenizers, strict=True)]
        rows = self._without_long(rows, corpora)
        if not self._adopted:
            self._fit(tokenizers, corpora, rows["train"])
        self._indices, self._pairs = rows, {split: self._encoded(corpora, part) for split, part in rows.items()}

    def _split(self) -> dict[str, Tensor]:
        """Indices of the rows of each split."""
        groups, test = self.groups(), self.test_rows()
        is_test = torch.zeros(len(self.table().sources), dtype=torch.bool)
        is_test[test] = True
        rest = (~is_test).nonzero().flatten()
        size = self.val_fraction if self.val_size is None else self.val_size
        if groups is None:
            every = Texts(torch.empty(0), torch.empty(0), rest)
            kept, held_out = holdout(every, self.declare().target, size, seed=self.seed)
        else:
            kept, held_out = holdout_groups(groups[rest], size, seed=self.seed, rule=TOGETHER)
        return {"train": rest[self.training_rows(kept, held_out)], "val": rest[held_out], "test": test}

    def _tokenizers(self, train: Tensor) -> tuple[Tokenizer, Tokenizer]:
        """Of both sides; pieces of words are those of the checkpoint, or fitted to the training rows."""
        if self.tokenizer.level != "bpe":
            return self.tokenizer, self.tokenizer
        if self._adopted:
            return self.spec.tokenizer, self._target.tokenizer
        texts = [[side[i] for i in train.tolist()] for side in self.table()]
        both = [texts[0] + texts[1]] * 2 if self.shared_vocabulary else texts
        fitted = [
            pieces.fit(part, self.tokenizer, self._num_pieces(side)) for side, part in zip(SIDES, both, strict=True)
        ]
        return fitted[0], fitted[1]

    def _num_pieces(self, side: str) -> int:
        assert self.max_vocab is not None
        return self.max_vocab - len(self._special(side))

    def _special(self, side: str) -> tuple[str, ...]:
        return TARGET_SPECIAL if side == "target" or self.shared_vocabulary else SPECIAL

    def _tokenised(self, side: str, tokenizer: Tokenizer) -> Corpus:
        return self.corpus(side) if tokenizer.level != "bpe" else pieces.tokenise(self.read_texts(side)[0], tokenizer)

    def _without_long(self, rows: dict[str, Tensor], corpora: list[Corpus]) -> dict[str, Tensor]:
        """Without pairs that have more than ``max_length`` tokens on one of their sides."""
        longest = np.maximum(*(np.diff(corpus.starts) for corpus in corpora))
        fits = torch.from_numpy(longest <= self.max_length)
        num_left_out = int((~fits).sum())
        if num_left_out:
            what = f"{num_left_out:,} of {len(fits):,} pairs have more than {self.max_length} tokens on a side"
            self._notes.append(f"{what} and are left out (data.max_length)")
        kept = {split: part[fits[part]] for split, part in rows.items()}
        if empty := [split for split, part in kept.items() if not len(part)]:
            raise UserError(
                f"data.max_length={self.max_length} leaves no pair for {empty[0]}: raise it; the longest side has "
                f"{int(longest.max())} tokens"
            )
        return kept

    def _fit(self, tokenizers: tuple[Tokenizer, Tokenizer], corpora: list[Corpus], train: Tensor) -> None:
        """The vocabularies of the training rows."""
        texts = [as_texts(corpus).take(train) for corpus in corpora]
        counts = [counts_of(corpus.distinct_tokens, part.tokens) for corpus, part in zip(corpora, texts, strict=True)]
        both = [counts[0] + counts[1]] * 2 if self.shared_vocabulary else counts
        source, target = (self._vocabulary(side, part) for side, part in zip(SIDES, both, strict=True))
        longest_input = int(texts[0].lengths.max())
        target_spec = dataclasses.replace(
            self._declared_target(), tokenizer=tokenizers[1], vocabulary=target, longest_input=longest_input
        )
        self.spec = dataclasses.replace(self.declare(), tokenizer=tokenizers[0], vocabulary=source, target=target_spec)

    def _vocabulary(self, side: str, counts: Counter[str]) -> tuple[str, ...]:
        special = self._special(side)
        is_bpe = self.tokenizer.level == "bpe"  # its size was chosen when the pieces were fitted
        most = None if self.max_vocab is None or is_bpe else self.max_vocab - len(special) + len(SPECIAL)
        pairs = [(token, count) for token, count in counts.items() if token not in special]
        found = build_vocabulary(pairs, min_count=self.min_count, max_vocab=most)[len(SPECIAL) :]
        if not found:
            raise UserError(
                f"no token of the {side}s in the training rows is left: lower data.min_count={self.min_count}, or "
                f"raise data.max_vocab={self.max_vocab}"
            )
        return (*special, *found)

    def _encoded(self, corpora: list[Corpus], rows: Tensor) -> Pairs:
        """Rows as token ids, targets with END."""
        sources, targets = (
            encoded(corpus, rows, vocabulary)
            for corpus, vocabulary in zip(corpora, (self.spec.vocabulary, self._target.vocabulary), strict=True)
        )
        return Pairs(sources, _with_ends(targets))

    @property
    def _target(self) -> TokenSequences:
        target = self.spec.target.token_sequences
        assert target is not None
        return target

    # ------------------------------------------------------------------ access

    def arrays(self, split: Split) -> Pairs:  # type: ignore[override]  # texts are ragged
        self.setup()
        return self._pairs[split]

    def load(self, split: Literal["train", "test"]) -> Pairs:  # type: ignore[override]  # texts are ragged
        return self.arrays(split)

    def texts(self, split: Split) -> Table:
        """The raw pairs of a split, in the order of `arrays`."""
        self.setup()
        rows = self._indices[split].tolist()
        return Table(*([side[i] for i in rows] for side in self.table()))

    def fit_ids(self) -> tuple[np.ndarray, np.ndarray]:
        return self._ids("train"), self._ids("val")

    def test_ids(self) -> np.ndarray:
        return self._ids("test")

    def _ids(self, split: Split) -> np.ndarray:
        return hash_names("\t".join(pair) for pair in zip(*self.texts(split), strict=True))

    def adopt(self, spec: Spec) -> None:
        """Use the vocabularies and the pieces of words of a trained model."""
        if spec.target.token_sequences is not None:
            super().adopt(spec)

    def _loader(self, split: Split, batch_size: int, shuffle: bool = False) -> Loader:
        pairs = self.arrays(split)
        return PairLoader(pairs.to(self._home(pairs.num_bytes)), batch_size, shuffle=shuffle, seed=self.seed)


def _with_ends(texts: Texts) -> Texts:
    """The same with END after each text."""
    tokens = np.insert(texts.tokens.numpy(), texts.starts[1:].numpy(), END)
    return Texts(torch.from_numpy(tokens), texts.starts + torch.arange(len(texts.starts)), texts.y)
