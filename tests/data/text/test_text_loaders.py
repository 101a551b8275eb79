"""Every text and every token once an epoch, in batches that are a pure function of seed and epoch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from dlzoo.data.text.loaders import BucketLoader, PassageLoader, StreamLoader, Texts
from dlzoo.specs.tokenizer import PAD


def some_texts(n: int, longest: int = 50) -> Texts:
    """Texts that tell their row: text i is i + 1 repeated, of a random length."""
    lengths = torch.randint(1, longest + 1, (n,))
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    return Texts((torch.arange(n, dtype=torch.int32) + 1).repeat_interleave(lengths), starts, torch.arange(n) % 2)


def rows_of(x: Tensor) -> list[int]:
    return (x[:, 0] - 1).tolist()


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    for name in ("dlzoo.data.loaders.rank_and_world", "dlzoo.data.text.loaders.rank_and_world"):
        monkeypatch.setattr(name, lambda: (rank, world))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n", [1, 31, 64, 65, 1000])
def test_each_text_comes_once_and_whole(n: int, shuffle: bool) -> None:
    texts = some_texts(n)
    loader = BucketLoader(texts, 16, shuffle=shuffle, seed=3)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-n // 16)
    assert sorted(row for x, _, _ in batches for row in rows_of(x)) == list(range(n))
    for (x, y, _), rows in zip(batches, loader.batches(), strict=True):
        assert x.dtype == torch.int64
        assert rows_of(x) == rows.tolist()
        assert torch.equal(y, texts.y[rows])
        assert (x != PAD).sum(1).tolist() == texts.lengths[rows].tolist()
        assert x.shape[1] == texts.lengths[rows].max()  # the longest of the batch, not of all
        for row, length in zip(x, texts.lengths[rows].tolist(), strict=True):
            assert row[:length].eq(row[0]).all()
            assert not row[length:].any()


def test_texts_of_like_length_share_a_batch() -> None:
    texts = some_texts(2000, longest=500)
    num_tokens = texts.lengths.sum()
    padded = sum(x.numel() for x, _, _ in BucketLoader(texts, 16, shuffle=True))
    at_random = sum(16 * int(texts.lengths[rows].max()) for rows in torch.randperm(2000).split(16))
    assert padded < 1.1 * num_tokens
    assert at_random > 1.5 * num_tokens


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    def epoch(number: int, seed: int = 0) -> list[list[int]]:
        loader = BucketLoader(texts, 16, shuffle=True, seed=seed)
        loader.sampler.set_epoch(number)
        return [rows_of(x) for x, _, _ in loader]

    texts = some_texts(400)
    assert epoch(2) == epoch(2)
    different = [epoch(1), epoch(2), epoch(1, seed=1)]
    assert all(one != other for i, one in enumerate(different) for other in different[:i])
    assert {tuple(sorted(rows)) for rows in different[0]} != {tuple(sorted(rows)) for rows in different[1]}
    firsts = [len(x[0]) for x, _, _ in BucketLoader(texts, 16, shuffle=True)]
    assert firsts != sorted(firsts)  # not from the shortest to the longest
    test = BucketLoader(texts, 16)
    assert not hasattr(test, "sampler")
    widths = [x.shape[1] for x, _, _ in test]
    assert widths == sorted(widths)


@pytest.mark.parametrize("keep", ["first", "last"])
def test_long_texts_are_cut(keep: Any) -> None:
    texts = Texts(torch.arange(1, 11, dtype=torch.int32), torch.tensor([0, 2, 7, 10]), torch.tensor([5, 6, 7]))
    cut = texts.take(torch.tensor([2, 1, 0]), 3, keep)
    assert cut.padded(torch.arange(3)).tolist() == [[8, 9, 10], [3, 4, 5] if keep == "first" else [5, 6, 7], [1, 2, 0]]
    assert cut.y.tolist() == [7, 6, 5]
    assert cut.lengths.tolist() == [3, 3, 2]


# Streams


@pytest.mark.parametrize(
    ("n", "batch_size", "num_steps"), [(1000, 4, 16), (1001, 4, 7), (11, 4, 3), (5, 8, 2), (2, 1, 1)]
)
def test_each_token_but_the_first_is_a_target_once(n: int, batch_size: int, num_steps: int) -> None:
    tokens = torch.arange(1, n + 1)
    loader = StreamLoader(tokens, batch_size, num_steps=num_steps, seed=1)
    for epoch in range(3):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        targets = torch.cat([y.flatten() for _, y, _ in batches])
        assert sorted(targets[targets != PAD].tolist()) == list(range(2, n + 1))
        assert all(x.shape[1] <= num_steps for x, _, _ in batches)
        for x, y, _ in batches:
            assert torch.equal(y[y != PAD], (x + 1)[y != PAD])
        for (_, before, _), (after, _, _) in pairwise(batches):
            assert torch.equal(before[:, -1], after[:, 0])  # each row goes on where it ended


def test_cuts_fall_elsewhere_in_each_training_epoch() -> None:
    loader = StreamLoader(torch.arange(1, 1001), 4, num_steps=16)
    cuts = []
    for epoch in (0, 1, 2, 3, 1):
        loader.sampler.set_epoch(epoch)
        cuts.append(loader.batch_lengths())
    assert len({*map(tuple, cuts)}) >= 3
    assert cuts[1] == cuts[4]


@pytest.mark.parametrize(("n", "num_steps", "length"), [(1000, 16, 16), (1000, 500, 63), (5, 8, 1), (2, 8, 1)])
def test_passages_are_those_of_the_text_whatever_the_batch_and_the_ranks(
    n: int, num_steps: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passages(batch_size: int, rank: int, world: int) -> list[tuple[list[int], list[int]]]:
        as_rank(monkeypatch, rank, world)
        batches = list(PassageLoader(torch.arange(1, n + 1), batch_size, num_steps=num_steps))
        assert max(len(x) for x, _, _ in batches) <= batch_size
        return [(a.tolist(), b.tolist()) for x, y, _ in batches for a, b in zip(x, y, strict=True)]

    whole = passages(3, 0, 1)
    assert whole == passages(100, 0, 1)
    assert {len(x) for x, _ in whole} == {length}
    assert [token for _, y in whole for token in y if token != PAD] == list(range(2, n + 1))
    if len(whole) > 1:
        assert sorted(whole) == sorted([*passages(3, 0, 2), *passages(3, 1, 2)])


def test_ranks_share_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, shapes = [], []
    for rank in (0, 1):
        as_rank(monkeypatch, rank, 2)
        batches = list(StreamLoader(torch.arange(1, 1002), 4, num_steps=16))
        seen += [target for _, y, _ in batches for target in y[y != PAD].tolist()]
        shapes.append([x.shape for x, _, _ in batches])
    assert sorted(seen) == list(range(2, 1002))
    assert shapes[0] == shapes[1]
