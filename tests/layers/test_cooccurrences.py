"""Counts of co-occurrences against pairs that are listed one by one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from dlzoo.layers import cooccurrences
from dlzoo.layers.cooccurrences import count


def listed(texts: list[torch.Tensor], window: int) -> dict[tuple[int, int], float]:
    """1 / distance of each two words of a text, out of which unknown words are taken before."""
    found: Counter[tuple[int, int]] = Counter()
    for text in texts:
        for row in text.tolist():
            words = [word for word in row if word > 1]
            for i, a in enumerate(words):
                for j, b in enumerate(words):
                    if i != j and abs(i - j) <= window:
                        found[a, b] += 1 / abs(i - j)  # type: ignore[assignment]
    return dict(found)


@pytest.mark.parametrize("window", [1, 3, 50])
@pytest.mark.parametrize(("chunk", "merge"), [(1 << 18, 1 << 22), (7, 20)], ids=["at once", "in chunks"])
def test_pairs_are_weighted_by_their_distance(
    window: int, chunk: int, merge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooccurrences, "CHUNK", chunk)
    monkeypatch.setattr(cooccurrences, "FIRST_MERGE", merge)
    draw = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, 9, (4, 13), generator=draw) for _ in range(3)]
    pairs = count(texts, 9, window)
    found = {(a, b): x for a, b, x in zip(*(part.tolist() for part in pairs), strict=True)}
    assert len(found) == len(pairs.values)
    assert found == pytest.approx(listed(texts, window))
    assert all(found[b, a] == x for (a, b), x in found.items())


def test_texts_without_pairs() -> None:
    assert len(count([torch.tensor([[5, 0], [1, 6]])], 9, 2).values) == 0
    assert len(count([], 9, 2).values) == 0
