"""N-grams of tokens as numbers: the tokens themselves, and hashes of neighbouring ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlzoo.errors import at_least
from dlzoo.specs.tokenizer import PAD

FACTOR = 116_049_371
"""Of the hash, as in fastText; a number below the number of buckets times it stays below 2^63."""
MAX_BUCKETS = 1 << 30


class Ngrams(nn.Module):
    """Token ids (B, L) -> ids of all n-grams (B, N), shorter ones first; `PAD` where there is none, as behind a text.

    A token keeps its id, below ``num_tokens``; a longer n-gram has one of ``num_buckets`` above, which it may share.

    >>> Ngrams(10, 2, num_buckets=100)(torch.tensor([[2, 3, 2], [2, 3, 0]])).tolist()
    [[2, 3, 2, 55, 25, 0], [2, 3, 0, 55, 0, 0]]
    """

    def __init__(self, num_tokens: int, longest: int, *, num_buckets: int) -> None:
        super().__init__()
        at_least(1, "net", ngrams=longest, num_buckets=num_buckets)
        self.num_tokens = num_tokens
        self.longest = longest
        self.num_buckets = min(num_buckets, MAX_BUCKETS) if longest > 1 else 0

    @property
    def num_ids(self) -> int:
        return self.num_tokens + self.num_buckets

    def forward(self, x: Tensor) -> Tensor:
        length, padded = x.shape[1], F.pad(x, (0, self.longest - 1), value=PAD)
        ids, hashes = [x], x
        for n in range(1, self.longest):
            last = padded[:, n : n + length]
            hashes = (hashes * FACTOR + last) % self.num_buckets
            ids.append((hashes + self.num_tokens).masked_fill(last == PAD, PAD))
        return torch.cat(ids, dim=1)
