"""Byte-pair encoding: words in frequent pieces, by the library `tokenizers`.

R. Sennrich, B. Haddow, A. Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016. Pieces are made
of characters, not bytes, and do not extend over words, which are split as in GPT-2: the space before a word belongs to
it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from dlzoo.utils import extras

if TYPE_CHECKING:
    import tokenizers

Merges = tuple[tuple[str, str], ...]
"""Pairs of pieces to be joined, most important first."""

MAX_WORD = 200
"""Characters: longer words are cut, as fitting merges takes quadratic time in the length of a word."""
_MANY = f"{{1,{MAX_WORD}}}"
WORDS = (
    rf"'(?:[sdmt]|ll|ve|re)| ?\p{{L}}{_MANY}| ?\p{{N}}{_MANY}| ?[^\s\p{{L}}\p{{N}}]{_MANY}|\s{_MANY}(?!\S)|\s{_MANY}"
)


def fit(text: str, num_tokens: int) -> Merges:
    """Merges that make, with the characters of the text, so many tokens; fewer if it has no more pairs.

    >>> fit("low lower lowest", 10)
    (('l', 'o'), ('lo', 'w'))
    """
    extras.require("data.level=bpe", "tokenizers")
    from tokenizers import trainers

    tokenizer = _tokenizer({}, ())
    trainer = trainers.BpeTrainer(vocab_size=num_tokens, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tuple((one, other) for one, other in json.loads(tokenizer.to_str())["model"]["merges"])


def splitter(merges: Merges) -> Callable[[str], Sequence[str]]:
    """A function text -> pieces, of which the text consists.

    >>> splitter((("l", "o"), ("lo", "w")))("slow")
    ['s', 'low']
    """
    extras.require("data.level=bpe", "tokenizers")
    known = pieces(merges)

    def split(text: str) -> Sequence[str]:
        vocabulary = dict.fromkeys((*sorted({*text}), *(part for pair in merges for part in pair), *known))
        tokenizer = _tokenizer({piece: i for i, piece in enumerate(vocabulary)}, merges)
        return tokenizer.encode(text).tokens

    return split


def pieces(merges: Iterable[tuple[str, str]]) -> list[str]:
    """What the merges make, without duplicates.

    >>> pieces((("l", "o"), ("lo", "w")))
    ['lo', 'low']
    """
    return list(dict.fromkeys(one + other for one, other in merges))


def _tokenizer(vocabulary: dict[str, int], merges: Merges) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    return tokenizer
