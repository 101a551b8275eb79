"""Token sequences as a target: what translates, sorts or adds up a sequence of tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from dlzoo.specs.base import Difference, Port, Target
from dlzoo.specs.checks import MAX_OUTPUT_LENGTH, MAX_SHOWN_LENGTH, MAX_TOKEN_LENGTH, check_range
from dlzoo.specs.tokenizer import PAD, SPECIAL, UNKNOWN, Tokenizer

START, END = 2, 3
TARGET_SPECIAL = (*SPECIAL, "<start>", "<end>")
"""The first tokens of a target vocabulary: `START` begins the decoder's inputs, `END` ends each sequence."""


@dataclass(frozen=True)
class TokenSequences(Target):
    """Target: a sequence of tokens, (B, T) int64: each ends with `END` and is filled up with `PAD`.

    Args:
        vocabulary: fitted on train; before, it holds the special tokens alone.
        max_length: tokens of the longest sequence, without `END`.
        longest_input: tokens of the longest training input, 0 before it is known: metrics of longer ones stand apart.
        is_text: whether sequences are sentences, which BLEU and chrF can compare.
    """

    what: ClassVar[str] = "token sequences"
    names: ClassVar[tuple[str, ...]] = ()
    units: ClassVar[tuple[str, ...]] = ()

    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    vocabulary: tuple[str, ...] = TARGET_SPECIAL
    max_length: int = 50
    longest_input: int = 0
    is_text: bool = True

    def check(self) -> None:
        check_range(1, self, MAX_OUTPUT_LENGTH, max_length=self.max_length)
        check_range(0, self, longest_input=self.longest_input)
        check_range(len(TARGET_SPECIAL), self, vocabulary=len(self.vocabulary))
        check_range(0, self, MAX_TOKEN_LENGTH, vocabulary=max(map(len, self.vocabulary)))

    @property
    def num_outputs(self) -> int:
        return len(self.vocabulary)

    @property
    def token_sequences(self) -> TokenSequences:
        return self

    def ports(self) -> tuple[Port, ...]:
        meaning = f"of the next token; {START} begins a sequence, {END} ends it"
        return (Port("probabilities", "float32", ("batch", self.num_outputs), meaning),)

    def metadata(self) -> dict[str, object]:
        return {
            "target_vocabulary": list(self.vocabulary),
            "target_tokenizer": asdict(self.tokenizer),
            "target_max_length": self.max_length,
        }

    def describe(self, start: int = 0) -> str:
        return f"sequences of {self.tokenizer.what}, at most {self.max_length}"

    def difference(self, other: Target) -> Difference:
        """Fitted vocabularies and merges are no difference."""
        theirs = other.token_sequences
        if theirs is None:
            return self.describe(), other.describe()
        return None if self._settings == theirs._settings else (self.describe(), theirs.describe())

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's tokens, at most ``max_length``, and `END`."""
        tokens = self.tokenizer.splitter()(text)
        return [*(self._numbers.get(token, UNKNOWN) for token in tokens[: self.max_length]), END]

    def tokens(self, numbers: list[int]) -> list[str]:
        """The tokens before `END`, without padding, as they are shown.

        >>> TokenSequences(vocabulary=(*TARGET_SPECIAL, "yes", "no")).tokens([4, 5, 3, 0])
        ['yes', 'no']
        """
        end = numbers.index(END) if END in numbers else len(numbers)
        shown = (self.vocabulary[i] for i in numbers[:end] if i != PAD)
        return [t if len(t) <= MAX_SHOWN_LENGTH else f"{t[: MAX_SHOWN_LENGTH - 1]}…" for t in shown]

    def decode(self, numbers: list[int]) -> str:
        """The text of the tokens before `END`."""
        return self.tokenizer.join(self.tokens(numbers))

    def example(self, n: int) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        length = min(self.max_length, 5)
        words = torch.randint(min(4, self.num_outputs - 1), self.num_outputs, (n, length + 1), generator=draw)
        places, ends = torch.arange(length + 1), torch.randint(1, length + 1, (n, 1), generator=draw)
        filled = torch.where(places < ends, words, torch.where(places == ends, END, PAD))
        return filled[:, : int(ends.max()) + 1]

    @property
    def _settings(self) -> tuple[object, ...]:
        tokenizer = self.tokenizer
        return tokenizer.level, tokenizer.lower, tokenizer.punctuation, self.max_length, self.is_text

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary)}
