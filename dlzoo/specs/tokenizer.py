"""Tokenization: splitting text into tokens, building a vocabulary, and joining tokens back into text.

A vocabulary is a tuple of tokens that starts with ``<pad>``, which only pads a batch, and ``<unk>``, which replaces
every out-of-vocabulary token. Settings and vocabulary are plain data and part of the spec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from dlzoo.errors import UserError
from dlzoo.specs import bpe
from dlzoo.specs.base import Storable

Level = Literal["word", "char"]
RunningLevel = Literal["word", "char", "bpe"]
"""Of running text, which can also be split into pieces of words by byte-pair encoding."""

PAD, UNKNOWN = 0, 1
SPECIAL = ("<pad>", "<unk>")
"""The first tokens of every vocabulary, with the ids `PAD` and `UNKNOWN`."""

VERSION = 1
"""Incremented when the same text and settings give different tokens than before, which invalidates cached tokens."""

_WORD = r"\w+(?:['\u2019]\w+)*"  # don't is one word, with either apostrophe
_CLOSING, _OPENING = frozenset(".,;:!?)]}%'\u2019\u2026"), frozenset("([{$#@¿¡")


@dataclass(frozen=True)
class Tokenizer(Storable):
    """Splits text into tokens.

    Args:
        level: word, or char for single characters, including spaces and line breaks, or bpe for pieces of words.
        lower: whether text is lower-cased.
        punctuation: words only: whether each punctuation character is a token, or dropped.
        line_breaks: words only: whether a line break is a token.
        merges: pieces only: the pairs that are joined, as fitted to the training text.
    """

    level: RunningLevel = "word"
    lower: bool = True
    punctuation: bool = True
    line_breaks: bool = False
    merges: bpe.Merges = field(default=(), repr=False)

    def check(self) -> None:
        for pair in self.merges:
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(p, str) and p for p in pair)):
                raise UserError("the stored spec, Tokenizer.merges: these must be pairs of texts")

    @property
    def hides_characters(self) -> bool:
        """Whether a token may stand for several unknown characters, and spaces are not part of tokens."""
        return self.level == "word"

    @property
    def what(self) -> str:
        """A description of the tokens, such as ``lower-case words and punctuation``."""
        case = "lower-case " if self.lower else ""
        if self.level == "char":
            return f"{case}characters"
        if self.level == "bpe":
            return f"{case}pieces of words"
        return f"{case}words" + (" and punctuation" if self.punctuation else "") + (", by lines" * self.line_breaks)

    def splitter(self) -> Callable[[str], Sequence[str]]:
        """A function text -> tokens.

        >>> Tokenizer().splitter()("Don't panic!  (42)")
        ["don't", 'panic', '!', '(', '42', ')']
        >>> Tokenizer(lower=False, punctuation=False).splitter()("Don't panic!  (42)")
        ["Don't", 'panic', '42']
        """
        if self.level == "char":
            return str.lower if self.lower else str
        if self.level == "bpe":
            split = self._split
            return (lambda text: split(text.lower())) if self.lower else split
        parts = [_WORD, *([r"[^\w\s]"] if self.punctuation else []), *([r"\n"] if self.line_breaks else [])]
        find = re.compile("|".join(parts)).findall
        return (lambda text: find(text.lower())) if self.lower else find

    @cached_property
    def _split(self) -> bpe.Splitter:
        return bpe.Splitter(self.merges)

    def join(self, tokens: Sequence[str]) -> str:
        """Join tokens into text; for words the spaces are guessed, and `splitter` recovers the same tokens.

        >>> Tokenizer().join(["(", "i", "don't", ")", ",", "she", "said", "."])
        "(i don't), she said."
        """
        if self.level != "word":
            return "".join(tokens)
        text = ""
        for token in tokens:
            is_attached = not text or text[-1] in _OPENING or text[-1] == "\n" or token == "\n" or token in _CLOSING
            text += token if is_attached else f" {token}"
        return text


def build_vocabulary(
    counts: Sequence[tuple[str, int]], *, min_count: int = 1, max_vocab: int | None = None
) -> tuple[str, ...]:
    """The vocabulary from (token, count): most frequent first, ties in alphabetical order.

    Args:
        min_count: rarer tokens are dropped.
        max_vocab: maximum number of tokens, including ``<pad>`` and ``<unk>``.

    >>> build_vocabulary([("b", 2), ("a", 2), ("c", 5), ("d", 1)], min_count=2, max_vocab=4)
    ('<pad>', '<unk>', 'c', 'a')
    """
    kept = sorted((-count, token) for token, count in counts if count >= min_count and token not in SPECIAL)
    max_tokens = None if max_vocab is None else max_vocab - len(SPECIAL)
    return (*SPECIAL, *(token for _, token in kept[:max_tokens]))
