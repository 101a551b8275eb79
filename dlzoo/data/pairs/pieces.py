"""Many texts in pieces of words: the library is set up once for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from dlzoo.data.text import cache as text_cache
from dlzoo.data.text.cache import Corpus
from dlzoo.errors import UserError
from dlzoo.specs import bpe
from dlzoo.specs.tokenizer import Tokenizer

BREAK = "\n"
"""Between texts; the library never joins it with a letter, and texts of one line do not contain it."""


def fit(texts: Sequence[str], tokenizer: Tokenizer, num_pieces: int) -> Tokenizer:
    """The tokenizer with merges fitted to the texts, for so many pieces, single characters included."""
    text = _joined(texts, tokenizer)
    num_characters = len({*text} - {BREAK})
    if num_pieces < num_characters:
        raise UserError(
            f"data.max_vocab is too small: the training texts have {num_characters} different characters, and there "
            f"would be only {num_pieces} tokens beside the special ones"
        )
    return dataclasses.replace(tokenizer, merges=bpe.fit(text, num_pieces + 1))  # the break is no piece


def tokenise(texts: Sequence[str], tokenizer: Tokenizer) -> Corpus:
    """Texts of one line each in pieces."""
    parts: list[list[str]] = [[]]
    for piece in bpe.Splitter(tokenizer.merges)(_joined(texts, tokenizer)):
        if piece == BREAK:
            parts.append([])
        else:
            parts[-1].append(piece)
    split = iter(parts)
    return text_cache.corpus_of((next(split) for _ in texts), [0] * len(texts))


def _joined(texts: Iterable[str], tokenizer: Tokenizer) -> str:
    text = BREAK.join(texts)
    return text.lower() if tokenizer.lower else text
