"""A trigram model with interpolated Kneser-Ney smoothing: the baseline of language models.

R. Kneser, H. Ney, "Improved Backing-off for M-gram Language Modeling", 1995, in the interpolated form of S. Chen,
J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1999, with one discount for each order,
n1 / (n1 + 2 n2) from the counts of n-grams seen once and twice. Implemented here because the existing libraries are
archived or standalone programs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any


class Trigram:
    """Fitted to a sequence of token ids below ``num_tokens``; id 0 is never predicted.

    The lower orders count the distinct contexts of a token, not its occurrences.
    """

    def __init__(self, tokens: Sequence[int], num_tokens: int) -> None:
        self.num_tokens = num_tokens
        trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
        bigrams = Counter((v, w) for _, v, w in trigrams)
        unigrams = Counter(w for _, w in bigrams)
        self.orders = [_Order({(): unigrams}), _Order(_by_context(bigrams)), _Order(_by_context(trigrams))]

    def probability(self, context: Sequence[int], token: int) -> float:
        """Probability of a token after a context of two; backs off to shorter contexts if it is shorter or unseen."""
        probability = 1 / (self.num_tokens - 1)
        for length, order in enumerate(self.orders):
            if length <= len(context):
                probability = order.interpolate(tuple(context[len(context) - length :]), token, probability)
        return probability

    def perplexity(self, tokens: Sequence[int]) -> float:
        """Perplexity of all tokens but the first, given the preceding ones."""
        pairs = ((tokens[max(i - 2, 0) : i], tokens[i]) for i in range(1, len(tokens)))
        nats = [-math.log(self.probability(context, token)) for context, token in pairs]
        return math.exp(math.fsum(nats) / len(nats))


class _Order:
    """Counts of tokens after contexts of one length."""

    def __init__(self, counts: dict[tuple[int, ...], Counter[int]]) -> None:
        self.counts = counts
        self.totals = {context: following.total() for context, following in counts.items()}
        rare = Counter(count for following in counts.values() for count in following.values())
        once, twice = rare[1], rare[2]
        self.discount = once / (once + 2 * twice) if once and twice else 0.5

    def interpolate(self, context: tuple[int, ...], token: int, lower: float) -> float:
        """The discounted frequency of a token, plus the discounted mass times the lower order's probability."""
        following = self.counts.get(context)
        if not following:
            return lower
        discounted_mass = self.discount * len(following)
        return (max(following[token] - self.discount, 0.0) + discounted_mass * lower) / self.totals[context]


def _by_context(ngrams: Counter[Any]) -> dict[tuple[int, ...], Counter[int]]:
    grouped: dict[tuple[int, ...], Counter[int]] = {}
    for (*context, token), count in ngrams.items():
        grouped.setdefault(tuple(context), Counter())[token] = count
    return grouped
