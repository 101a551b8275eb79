"""Running words in blocks of positions, so that all pairs of a word and its context are matrix products.

A block of B words has its contexts among the B + 2w words around it: their vectors are gathered once for all pairs,
and the products of one with the other form a band, of which a mask holds the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dlzoo.specs.tokenizer import PAD, UNKNOWN

MIN_BLOCK = 32
"""Words in a block: fewer make products that are too small to be fast, more waste most of the band."""


class Chunk(NamedTuple):
    """N words, a multiple of the block, with the w words before and after them.

    words: (N,) int64, `PAD` behind the end; around: (N + 2w,) int64, `PAD` where there is none; mask: (N / B, B,
    B + 2w), 1 where a word of a block has the word around it as context, else 0; is_word: (N,).
    """

    words: Tensor
    around: Tensor
    mask: Tensor
    is_word: Tensor


class Windows:
    """Cuts running words into chunks.

    Args:
        size: w, words on each side of a word, at most.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.block = max(MIN_BLOCK, 2 * size)

    def chunks(self, words: Tensor, texts: Tensor, reach: Tensor, num: int) -> Iterator[Chunk]:
        """Chunks of ``num`` words, rounded up to whole blocks.

        Args:
            words, texts: (T,), ids and the text that each belongs to; contexts are of the same text.
            reach: (T,), from how far away each word takes its context, at most ``size``.
        """
        block, size = self.block, self.size
        num = -(-num // block) * block
        fill = -len(words) % block
        words = torch.cat([words.new_full((size,), PAD), words, words.new_full((size + fill,), PAD)])
        texts = torch.cat([texts.new_full((size,), -1), texts, texts.new_full((size + fill,), -1)])
        reach = torch.cat([reach, reach.new_zeros(fill)])
        apart = (torch.arange(block)[:, None] + size - torch.arange(block + 2 * size)).abs().to(words.device)
        apart = apart.masked_fill(apart == 0, size + 1).to(reach.dtype)
        for start in range(0, len(reach), num):
            end = min(start + num, len(reach))
            around, nearby = words[start : end + 2 * size], texts[start : end + 2 * size]
            inside = slice(start + size, end + size)
            mask = apart <= reach[start:end].view(-1, block, 1)
            mask &= texts[inside].view(-1, block, 1) == self.band(nearby)[:, None]
            yield Chunk(words[inside], around, mask, texts[inside] >= 0)

    def band(self, values: Tensor) -> Tensor:
        """(N + 2w, ...) -> (N / B, B + 2w, ...), for each block the values around it; a view."""
        values = values.contiguous()
        step, block = values.stride(0), self.block
        shape = (len(values) - 2 * self.size) // block, block + 2 * self.size, *values.shape[1:]
        return values.as_strided(shape, (block * step, step, *values.stride()[1:]))

    def sum_band(self, band: Tensor) -> Tensor:
        """(N / B, B + 2w, D) -> (N + 2w, D): the sums of what the blocks give to the words around them."""
        num, _, width = band.shape
        block, size = self.block, self.size
        total = band.new_zeros(num * block + 2 * size, width)
        total[: num * block].view(num, block, width).copy_(band[:, :block])
        total.as_strided((num, 2 * size, width), (block * width, width, 1), block * width).add_(band[:, block:])
        return total


def running_words(x: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids (B, L) -> the ids of their words (T,) and the row of each, without padding and unknown words."""
    is_word = x > UNKNOWN
    rows = torch.arange(len(x), device=x.device)[:, None].expand_as(x)
    return x[is_word], rows[is_word]
