"""N-grams by hand: each of every length once, none across a text's end, equal ones with equal numbers."""

from __future__ import annotations

import pytest
import torch

from dlzoo.errors import UserError
from dlzoo.layers.ngrams import FACTOR, MAX_BUCKETS, Ngrams
from dlzoo.specs.tokenizer import PAD


def by_hand(tokens: list[int], num_tokens: int, longest: int, num_buckets: int) -> list[int]:
    found = list(tokens)
    for n in range(2, longest + 1):
        for start in range(len(tokens) - n + 1):
            number = tokens[start]
            for token in tokens[start + 1 : start + n]:
                number = (number * FACTOR + token) % num_buckets
            found.append(num_tokens + number)
    return found


@pytest.mark.parametrize("longest", [1, 2, 3, 5])
def test_n_grams_by_hand(longest: int) -> None:
    texts = [[3, 1, 4, 1, 5], [9, 2, 6], [5]]
    x = torch.tensor([text + [PAD] * (5 - len(text)) for text in texts])
    layer = Ngrams(10, longest, num_buckets=1000)
    for text, row in zip(texts, layer(x).tolist(), strict=True):
        assert [i for i in row if i != PAD] == by_hand(text, 10, longest, 1000)
        assert max(row) < layer.num_ids


def test_a_text_has_the_same_n_grams_alone_and_in_a_batch() -> None:
    layer = Ngrams(100, 3, num_buckets=10_000)
    alone, beside = layer(torch.tensor([[7, 8, 9]])), layer(torch.tensor([[7, 8, 9, 0, 0], [1, 2, 3, 4, 5]]))
    assert sorted(alone[alone != PAD].tolist()) == sorted(beside[0][beside[0] != PAD].tolist())


def test_order_matters_and_collisions_are_rare() -> None:
    layer = Ngrams(1000, 2, num_buckets=1_000_000)
    pairs = torch.cartesian_prod(torch.arange(1, 150), torch.arange(1, 150))
    ids = layer(pairs)[:, 2]
    assert len(ids.unique()) > 0.98 * len(pairs)
    assert ids[1] != layer(pairs[1:2].flip(1))[0, 2]


def test_large_tables_do_not_overflow() -> None:
    layer = Ngrams(2**31, 2, num_buckets=2**40)
    assert layer.num_buckets == MAX_BUCKETS
    ids = layer(torch.tensor([[2**31 - 1, 2**31 - 2]]))
    assert ids.tolist()[0][:3] == by_hand([2**31 - 1, 2**31 - 2], 2**31, 2, MAX_BUCKETS)


def test_mistakes() -> None:
    with pytest.raises(UserError, match=r"net\.ngrams=0 is too small"):
        Ngrams(10, 0, num_buckets=10)
    with pytest.raises(UserError, match=r"net\.num_buckets=0 is too small"):
        Ngrams(10, 2, num_buckets=0)
