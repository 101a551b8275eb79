"""How often words stand near each other, counted in chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlzoo.layers.word_windows import running_words

CHUNK = 1 << 18
"""Words whose pairs are summed at once: with a window of ten they take 60 MB."""
FIRST_MERGE = 1 << 22
"""Summed pairs that are kept before the chunks are merged; then whenever they have doubled."""


class Cooccurrences(NamedTuple):
    """Pairs of words in ascending order, and their weighted counts.

    words, contexts: (N,) int64; values: (N,) float32.
    """

    words: Tensor
    contexts: Tensor
    values: Tensor


def count(texts: Iterable[Tensor], num_tokens: int, window: int) -> Cooccurrences:
    """The pairs of texts (B, L) of token ids, each pair at distance d counted 1 / d, in both orders.

    Args:
        window: words on each side.
    """
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    merged = FIRST_MERGE
    for x in texts:
        words, rows = running_words(x.cpu())
        for start in range(0, len(words), CHUNK):
            part = slice(start, start + CHUNK + window)
            kept.append(_sums(*_pairs(words[part], rows[part], min(CHUNK, len(words) - start), num_tokens, window)))
        if sum(len(keys) for keys, _ in kept) > merged:
            kept = [_merge(kept)]
            merged = max(merged, 2 * len(kept[0][0]))
    keys, values = _merge(kept)
    first, second = torch.from_numpy(keys // num_tokens), torch.from_numpy(keys % num_tokens)
    apart = first != second
    counts = torch.from_numpy(values).float()
    return Cooccurrences(  # each unordered pair was counted once
        torch.cat([first, second[apart]]),
        torch.cat([second, first[apart]]),
        torch.cat([counts * torch.where(apart, 1.0, 2.0), counts[apart]]),
    )


def _pairs(words: Tensor, rows: Tensor, num: int, num_tokens: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of unordered pairs and their weights, of the first ``num`` words with those after them."""
    keys, weights = [], []
    for distance in range(1, min(window, len(words) - 1) + 1):
        last = min(num, len(words) - distance)
        a, b = words[:last], words[distance : distance + last]
        together = rows[:last] == rows[distance : distance + last]
        a, b = a[together], b[together]
        keys.append(torch.minimum(a, b) * num_tokens + torch.maximum(a, b))
        weights.append(torch.full((len(a),), 1 / distance, dtype=torch.float64))
    if not keys:
        return np.empty(0, np.int64), np.empty(0)
    return torch.cat(keys).numpy(), torch.cat(weights).numpy()


def _sums(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in ascending order and the sums of their weights."""
    if not len(keys):
        return keys, weights
    order = np.argsort(keys, kind="stable")
    keys, weights = keys[order], weights[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(weights, starts)


def _merge(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0)
    return _sums(np.concatenate([keys for keys, _ in parts]), np.concatenate([values for _, values in parts]))
