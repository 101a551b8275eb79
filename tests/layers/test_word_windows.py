"""Blocks of running words against pairs that are listed one by one."""

from __future__ import annotations

import pytest
import torch

from dlzoo.layers.word_windows import Windows, running_words
from dlzoo.specs.tokenizer import PAD


@pytest.mark.parametrize(("size", "num", "chunk"), [(1, 5, 512), (5, 100, 32), (5, 97, 64), (20, 150, 40)])
def test_the_mask_holds_the_pairs_of_each_word(size: int, num: int, chunk: int) -> None:
    draw = torch.Generator().manual_seed(0)
    words = torch.arange(2, num + 2)  # different ones, so that a pair is known by its words
    texts = torch.randint(0, 4, (num,), generator=draw).cumsum(0)
    reach = torch.randint(1, size + 1, (num,), generator=draw).float()
    expected = {
        (int(words[i]), int(words[j]))
        for i in range(num)
        for j in range(num)
        if i != j and abs(i - j) <= reach[i] and texts[i] == texts[j]
    }
    windows, found = Windows(size), []
    for part in windows.chunks(words, texts, reach, chunk):
        around = windows.band(part.around)
        for block, row, column in part.mask.nonzero().tolist():
            found.append((int(part.words.view(-1, windows.block)[block, row]), int(around[block, column])))
        assert part.is_word.tolist() == (part.words != PAD).tolist()
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("size", [2, 16, 40])
def test_sums_over_a_band_are_the_transpose_of_taking_it(size: int) -> None:
    windows = Windows(size)
    values = torch.randn(3 * windows.block + 2 * size, 4, dtype=torch.float64, requires_grad=True)
    band = windows.band(values)
    weights = torch.randn_like(band)
    (gradient,) = torch.autograd.grad((band * weights).sum(), values)
    torch.testing.assert_close(windows.sum_band(weights), gradient)


def test_padding_and_unknown_words_are_left_out() -> None:
    words, texts = running_words(torch.tensor([[5, 1, 7, 0], [8, 9, 0, 0], [1, 1, 0, 0]]))
    assert words.tolist() == [5, 7, 8, 9]
    assert texts.tolist() == [0, 0, 1, 1]
