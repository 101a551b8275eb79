"""The trigram model matches its equations: probabilities sum to one, and a text of seven tokens by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from dlzoo.metrics.ngram import Trigram, _Order


def test_probabilities_sum_to_one_for_any_context() -> None:
    tokens = torch.randint(1, 9, (400,)).tolist()
    model = Trigram(tokens, 12)
    for context in ([], [3], [3, 4], [11, 3], [3, 11], [11], [11, 11], tokens[:2]):
        shares = [model.probability(context, token) for token in range(1, 12)]
        assert math.fsum(shares) == pytest.approx(1)
        assert min(shares) > 0


def test_by_hand() -> None:
    """1 2 3 1 2 4 1: the trigrams 123, 231, 312, 124, 241 once each."""
    model = Trigram([1, 2, 3, 1, 2, 4, 1], 6)
    d = 0.5  # no trigram occurs twice: the default
    # in how many contexts: bigram 23, 31, 12, 24, 41 in one each; unigram 3, 2 and 4 in one, 1 in two
    d_uni = 3 / (3 + 2 * 1)
    unigram = {w: (c - d_uni) / 5 + d_uni * 4 / 5 / 5 for w, c in {1: 2, 2: 1, 3: 1, 4: 1}.items()}
    unigram[5] = d_uni * 4 / 5 / 5
    assert model.probability([], 1) == pytest.approx(unigram[1])
    assert model.probability([], 5) == pytest.approx(unigram[5])
    bigram = (1 - d) / 2 + d * 2 / 2 * unigram[3]  # after 2 came 3 and 4
    assert model.probability([2], 3) == pytest.approx(bigram)
    assert model.probability([5, 2], 3) == pytest.approx(bigram)
    trigram = (1 - d) / 2 + d * 2 / 2 * bigram  # after 1 2 came 3 and 4
    assert model.probability([1, 2], 3) == pytest.approx(trigram)
    assert model.perplexity([2, 3]) == pytest.approx(1 / bigram)
    assert model.perplexity([1, 2, 3]) == pytest.approx((model.probability([1], 2) * trigram) ** -0.5)


def test_the_discount_is_that_of_kneser_and_ney() -> None:
    """n1 / (n1 + 2 n2), of two tokens that were counted once and three that were counted twice."""
    order = _Order({(): Counter({1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 9})})
    assert order.discount == 2 / (2 + 2 * 3)
    assert order.interpolate((), 3, lower=0.1) == pytest.approx((2 - 0.25 + 6 * 0.25 * 0.1) / 17)
    assert order.interpolate((), 7, lower=0.1) == pytest.approx(6 * 0.25 * 0.1 / 17)
    assert order.interpolate((8,), 7, lower=0.1) == 0.1


def test_it_beats_a_bigram_where_two_tokens_matter() -> None:
    """Each token is the sum of the two before it, modulo 5, most of the time."""
    tokens = [1, 2]
    for noise in torch.rand(3000).tolist():
        tokens.append(1 + (tokens[-1] + tokens[-2]) % 5 if noise < 0.95 else 1 + int(noise * 1000) % 5)
    model = Trigram(tokens[:2500], 6)
    alone = math.exp(
        -math.fsum(math.log(model.probability(tokens[i - 1 : i], tokens[i])) for i in range(2501, 3000)) / 499
    )
    assert model.perplexity(tokens[2500:]) < 1.5 < 2.5 < alone
