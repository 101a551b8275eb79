"""Text as numbers: how it is cut into tokens, which tokens a vocabulary keeps, and the way back.

A vocabulary is a tuple of tokens whose first two are ``<pad>``, which only fills up a batch, and ``<unk>``, which
stands for every token that is not in it. Settings and vocabulary are plain data: they travel in the spec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dlzoo.specs.base import Plain

Level = Literal["word", "char"]

PAD, UNKNOWN = 0, 1
SPECIAL = ("<pad>", "<unk>")
"""The first tokens of every vocabulary, with the numbers `PAD` and `UNKNOWN`."""

VERSION = 1
"""Raised when the same text and settings give other tokens than before: stored tokens are then made anew."""

_WORD = r"\w+(?:['\u2019]\w+)*"  # don't is one word, with either apostrophe
_CLOSING, _OPENING = frozenset(".,;:!?)]}%'\u2019\u2026"), frozenset("([{$#@")


@dataclass(frozen=True)
class Tokenizer(Plain):
    """How text is cut.

    Args:
        level: word, or char for single characters, spaces and line breaks among them.
        lower: whether upper and lower case are the same.
        punctuation: words only: whether each other sign is a token of its own, or left out.
        line_breaks: words only: whether the end of a line is a token.
    """

    level: Level = "word"
    lower: bool = True
    punctuation: bool = True
    line_breaks: bool = False

    @property
    def what(self) -> str:
        """In words: ``lower-case words and punctuation``."""
        case = "lower-case " if self.lower else ""
        if self.level == "char":
            return f"{case}characters"
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
        parts = [_WORD, *([r"[^\w\s]"] if self.punctuation else []), *([r"\n"] if self.line_breaks else [])]
        find = re.compile("|".join(parts)).findall
        return (lambda text: find(text.lower())) if self.lower else find

    def join(self, tokens: Sequence[str]) -> str:
        """Tokens as text; for words the spaces are guessed, so `splitter` finds the same tokens in it again.

        >>> Tokenizer().join(["(", "i", "don't", ")", ",", "she", "said", "."])
        "(i don't), she said."
        """
        if self.level == "char":
            return "".join(tokens)
        text = ""
        for token in tokens:
            glued = not text or text[-1] in _OPENING or text[-1] == "\n" or token == "\n" or token in _CLOSING
            text += token if glued else f" {token}"
        return text


def build_vocabulary(
    counts: Sequence[tuple[str, int]], *, min_count: int = 1, max_vocab: int | None = None
) -> tuple[str, ...]:
    """The vocabulary from (token, count): the most frequent first, equals in alphabetical order.

    Args:
        min_count: rarer tokens are left out.
        max_vocab: the most tokens, ``<pad>`` and ``<unk>`` among them.

    >>> build_vocabulary([("b", 2), ("a", 2), ("c", 5), ("d", 1)], min_count=2, max_vocab=4)
    ('<pad>', '<unk>', 'c', 'a')
    """
    kept = sorted((-count, token) for token, count in counts if count >= min_count and token not in SPECIAL)
    most = None if max_vocab is None else max_vocab - len(SPECIAL)
    return (*SPECIAL, *(token for _, token in kept[:most]))
