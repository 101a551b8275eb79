"""A trigram model with interpolated Kneser-Ney smoothing: what a language model must beat.

R. Kneser, H. Ney, "Improved Backing-off for M-gram Language Modeling", 1995, in the interpolated form of S. Chen,
J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1999, with one discount for each order,
n1 / (n1 + 2 n2) from the numbers of n-grams seen once and twice. Written out here: the libraries that have it are
archived or programs of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any


class Trigram:
    """Fitted to a sequence of tokens, numbers below ``num_tokens``; number 0 is never predicted.

    The lower orders count in how many different contexts a token was seen, not how often.
    """

    def __init__(self, tokens: Sequence[int], num_tokens: int) -> None:
        self.num_tokens = num_tokens
        trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
        bigrams = Counter((v, w) for _, v, w in trigrams)
        unigrams = Counter(w for _, w in bigrams)
        self.orders = [_Order({(): unigrams}), _Order(_by_context(bigrams)), _Order(_by_context(trigrams))]

    def probability(self, context: Sequence[int], token: int) -> float:
        """Of a token after the two of a context; after fewer, or after others than were seen, from what is known."""
        share = 1 / (self.num_tokens - 1)
        for length, order in enumerate(self.orders):
            if length <= len(context):
                share = order.interpolate(tuple(context[len(context) - length :]), token, share)
        return share

    def perplexity(self, tokens: Sequence[int]) -> float:
        """Of all tokens but the first, given those before."""
        pairs = ((tokens[max(i - 2, 0) : i], tokens[i]) for i in range(1, len(tokens)))
        nats = [-math.log(self.probability(context, token)) for context, token in pairs]
        return math.exp(math.fsum(nats) / len(nats))


class _Order:
    """Counts of tokens after contexts of one length."""

    def __init__(self, counts: dict[tuple[int, ...], Counter[int]]) -> None:
        self.counts = counts
        self.totals = {context: after.total() for context, after in counts.items()}
        rare = Counter(count for after in counts.values() for count in after.values())
        once, twice = rare[1], rare[2]
        self.discount = once / (once + 2 * twice) if once and twice else 0.5

    def interpolate(self, context: tuple[int, ...], token: int, lower: float) -> float:
        """The discounted share of a token, and what was discounted from all times ``lower``, the lower order's."""
        after = self.counts.get(context)
        if not after:
            return lower
        held_back = self.discount * len(after)
        return (max(after[token] - self.discount, 0.0) + held_back * lower) / self.totals[context]


def _by_context(ngrams: Counter[Any]) -> dict[tuple[int, ...], Counter[int]]:
    found: dict[tuple[int, ...], Counter[int]] = {}
    for (*context, token), count in ngrams.items():
        found.setdefault(tuple(context), Counter())[token] = count
    return found
