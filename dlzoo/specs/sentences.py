"""Sentences whose words are tagged: each word is known by its number and by its characters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from dlzoo.specs.base import Port, Target
from dlzoo.specs.checks import MAX_TOKEN_LENGTH, check_length, check_range
from dlzoo.specs.inputs import VocabularySpec
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN
from dlzoo.specs.words import split_words

NO_WORD = -100
"""In the place of a tag behind a sentence's end; PyTorch's losses ignore it."""
UNSEEN_TAG = -1
"""The tag of a validation or test word that no training word has: not part of the loss, and any prediction is wrong."""
MAX_CHARACTERS = 1000
"""Of a word."""


@dataclass(frozen=True)
class Tags(Target):
    """Target: a tag for each word, (B, L) int64; `NO_WORD` behind each sentence's end.

    ``counts`` are the tags' numbers of training words, or empty. Without ``has_probabilities`` a prediction is one tag
    a word and no more, given as one-hot rows: the best sequence of tags has no probability for each word.
    """

    what: ClassVar[str] = "tags"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    counts: tuple[int, ...] = ()
    has_probabilities: bool = True

    def check(self) -> None:
        check_range(1, self, names=len(self.names))
        check_range(0, self, counts=self.counts)
        check_length(self, len(self.names), counts=self.counts)

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    @property
    def tags(self) -> Tags:
        return self

    @property
    def are_spans(self) -> bool:
        """Whether tags mark spans of words by B-, I- and O, such as B-PER."""
        marked = [name for name in self.names if name != "O"]
        return bool(marked) and all(name[:2] in ("B-", "I-") and len(name) > 2 for name in marked)

    def example(self, n: int) -> Tensor:
        return torch.arange(n)[:, None] % self.num_outputs

    def ports(self) -> tuple[Port, ...]:
        shape = ("batch", "length", self.num_outputs)
        if not self.has_probabilities:
            return (Port("tags", "float32", shape, "1 for the predicted tag of each word, in their order, else 0"),)
        return (Port("probabilities", "float32", shape, "of the tags of each word, in their order"),)

    def metadata(self) -> dict[str, object]:
        return {"tags": list(self.names)}

    def fit(self, y: Tensor) -> Tags:
        return replace(self, counts=tuple(y[y >= 0].bincount(minlength=self.num_outputs).tolist()))


@dataclass(frozen=True)
class SentenceSpec(VocabularySpec):
    """Sentences: (B, L, 1 + C) int64. Of each word first the number in the vocabulary, then those of its characters in
    ``characters``, both fitted on train; filled up with 0, ``<pad>``, behind each word's and each sentence's end.

    With ``lower`` the vocabulary is of lower-case words; characters keep their case. Of a word of more than
    ``max_characters`` the first and the last ones count, half each.
    """

    what: ClassVar[str] = "sentences"

    target: Tags
    lower: bool = True
    vocabulary: tuple[str, ...] = SPECIAL
    characters: tuple[str, ...] = SPECIAL
    max_characters: int = 20

    def check(self) -> None:
        check_range(len(SPECIAL), self, vocabulary=len(self.vocabulary))
        check_range(0, self, MAX_TOKEN_LENGTH, vocabulary=max(map(len, self.vocabulary)))
        check_range(len(SPECIAL), self, characters=len(self.characters))
        check_range(2, self, MAX_CHARACTERS, max_characters=self.max_characters)
        check_range(0, self, len(SPECIAL[PAD]), characters=max(map(len, self.characters)))

    @property
    def num_characters(self) -> int:
        return len(self.characters)

    def describe(self) -> str:
        case = "lower-case " if self.lower else ""
        return f"sentences of {case}words of up to {self.max_characters} characters"

    def ports(self) -> tuple[Port, ...]:
        meaning = (
            "of each word the number in the vocabulary and those of its characters, 0 behind a word's or sentence's end"
        )
        return (Port("words", "int64", ("batch", "length", 1 + self.max_characters), meaning),)

    def metadata(self) -> dict[str, object]:
        return super().metadata() | {
            "vocabulary": list(self.vocabulary),
            "lower": self.lower,
            "characters": list(self.characters),
            "max_characters": self.max_characters,
        }

    @property
    def options(self) -> dict[str, object]:
        return {"lower": self.lower, "max_characters": self.max_characters}

    def words(self, text: str) -> list[str]:
        """The words of a text, split as in the vocabulary; see `split_words`."""
        return split_words(text, self.knows)

    def knows(self, word: str) -> bool:
        """Whether it is a word of the vocabulary."""
        return self._form(word) in self._numbers

    def encode(self, text: str) -> list[list[int]]:
        """The numbers of a text's words and their characters; a text without any is one unknown word."""
        return [self.encode_word(word) for word in self.words(text)] or [self.encode_word("")]

    def encode_word(self, word: str) -> list[int]:
        """The word's number, then those of its characters, filled up to ``max_characters``."""
        if len(word) > self.max_characters:
            first = self.max_characters // 2
            word_part = word[:first] + word[first - self.max_characters :]
        else:
            word_part = word
        numbers = [self._character_numbers.get(character, UNKNOWN) for character in word_part]
        padding = [PAD] * (self.max_characters - len(numbers))
        return [self._numbers.get(self._form(word), UNKNOWN), *numbers, *padding]

    def example(self, n: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(0)
        length = 6
        words = torch.randint(1, self.num_tokens, (n, length, 1), generator=draw)
        characters = torch.randint(1, self.num_characters, (n, length, self.max_characters), generator=draw)
        ends = torch.randint(1, self.max_characters + 1, (n, length, 1), generator=draw)
        characters = characters.masked_fill(torch.arange(self.max_characters) >= ends, PAD)
        lengths = torch.randint(1, length + 1, (n, 1), generator=draw)
        beyond = torch.arange(length) >= lengths
        x = torch.cat([words, characters], dim=2).masked_fill(beyond[..., None], PAD)[:, : lengths.max()]
        tags = (torch.arange(n)[:, None] + torch.arange(length)) % self.target.num_outputs
        return x, tags.masked_fill(beyond, NO_WORD)[:, : lengths.max()]

    def _form(self, word: str) -> str:
        return word.lower() if self.lower else word

    @cached_property
    def _character_numbers(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters)}
