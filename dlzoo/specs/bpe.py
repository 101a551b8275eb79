"""Byte-pair encoding: words in frequent pieces, by the library `tokenizers`.

R. Sennrich, B. Haddow, A. Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016. Pieces are made
of characters, not bytes, and do not extend over words, which are split as in GPT-2: the space before a word belongs to
it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
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


class Splitter:
    """Splits texts into pieces, of which they consist; characters of no merge are pieces.

    To prepare it takes time in proportion to the merges, of which a stranger's checkpoint may have many; a text does
    not.

    >>> Splitter((("l", "o"), ("lo", "w")))("slow 😀!")
    ['s', 'low', ' ', '😀', '!']
    """

    def __init__(self, merges: Merges) -> None:
        extras.require("data.level=bpe", "tokenizers")
        parts = dict.fromkeys(part for pair in merges for part in pair)
        known = dict.fromkeys((*sorted({*"".join(parts)}), *parts, *pieces(merges)))
        unknown = next(name for i in itertools.count() if (name := f"<{i}>") not in known)  # copied for each character
        vocabulary = {piece: i for i, piece in enumerate([*known, unknown])}
        self.tokenizer = _tokenizer(vocabulary, merges, unknown)

    def __call__(self, text: str) -> Sequence[str]:
        return [text[start:end] for start, end in self.tokenizer.encode(text).offsets]


def pieces(merges: Iterable[tuple[str, str]]) -> list[str]:
    """What the merges make, without duplicates.

    >>> pieces((("l", "o"), ("lo", "w")))
    ['lo', 'low']
    """
    return list(dict.fromkeys(one + other for one, other in merges))


def _tokenizer(vocabulary: dict[str, int], merges: Merges, unknown: str | None = None) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges), unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    return tokenizer
