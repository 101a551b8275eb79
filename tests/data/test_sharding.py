"""How rows are shared out to ranks, for any number of rows, batch size and number of ranks: without processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlzoo.data.loaders import Arrays, Loader, TensorLoader, WorkerLoader, shard
from dlzoo.data.series.base import OriginLoader, SequentialLoader
from dlzoo.data.text.loaders import BucketLoader, StreamLoader, Texts
from dlzoo.errors import UserError
from dlzoo.specs.tokenizer import PAD


def arrays(n: int) -> Arrays:
    return Arrays(torch.arange(n)[:, None], torch.arange(n))


def in_memory(n: int, batch_size: int, shuffle: bool) -> Loader:
    return TensorLoader(arrays(n), batch_size, shuffle=shuffle, seed=3)


def by_workers(n: int, batch_size: int, shuffle: bool) -> Loader:
    def read(rows: list[int]) -> Any:
        return torch.tensor(rows)[:, None], torch.tensor(rows)

    return WorkerLoader(read, lambda batch: batch, n, batch_size, shuffle=shuffle, seed=3)


def in_buckets(n: int, batch_size: int, shuffle: bool) -> Loader:
    lengths = torch.arange(n) * 7 % 11 + 1
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    tokens = (torch.arange(n, dtype=torch.int32) + 1).repeat_interleave(lengths)
    return BucketLoader(Texts(tokens, starts, torch.arange(n)), batch_size, shuffle=shuffle, seed=3)


def in_turn(n: int, batch_size: int, shuffle: bool) -> Loader:
    return SequentialLoader(arrays(n), batch_size)


kinds = st.sampled_from([in_memory, by_workers, in_buckets, in_turn])
counts = st.integers(1, 70)
worlds = st.integers(1, 9)


def on_rank(rank: int, world: int, use: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("loaders", "text.loaders"):
            patch.setattr(f"dlzoo.data.{module}.rank_and_world", lambda: (rank, world))
        return use()


def epoch_of(make: Callable[[], Loader], rank: int, world: int, epoch: int) -> tuple[list[list[int]], list[float]]:
    """The rows of each batch of a rank, and its share of each."""

    def use() -> Any:
        loader = make()
        loader.set_epoch(epoch)
        batches = [batch[1].tolist() for batch in loader]
        assert len(loader) == len(batches)
        return batches, loader.rank_weights

    return on_rank(rank, world, use)


@given(kind=kinds, n=counts, batch_size=st.integers(1, 30), world=worlds, epoch=st.integers(0, 3))
@example(kind=in_memory, n=33, batch_size=16, world=2, epoch=0)  # one row borrowed for the last batch
@example(kind=in_memory, n=5, batch_size=9, world=9, epoch=0)  # fewer rows than ranks
@settings(deadline=None)
def test_training_batches_of_several_ranks_are_those_of_one(
    kind: Any, n: int, batch_size: int, world: int, epoch: int
) -> None:
    assume(batch_size >= world)

    def make() -> Loader:
        return kind(n, batch_size, True)

    whole, ones = epoch_of(make, 0, 1, epoch)
    parts = [epoch_of(make, rank, world, epoch) for rank in range(world)]
    assert set(ones) == {1.0}
    assert sorted(row for batch in whole for row in batch) == list(range(n))  # each row once an epoch
    assert {len(batches) for batches, _ in parts} == {len(whole)}  # all take equally many steps
    for step, batch in enumerate(whole):
        rows = [batches[step] for batches, _ in parts]
        shares = [shares[step] for _, shares in parts]
        counting = [part for part, share in zip(rows, shares, strict=True) if share]
        assert sorted(row for part in counting for row in part) == sorted(batch)
        assert all(rows)  # nobody has nothing to compute
        assert sum(shares) == pytest.approx(world)
        means = [sum(part) / len(part) for part in rows]
        mean = sum(share * m for share, m in zip(shares, means, strict=True)) / world
        assert mean == pytest.approx(sum(batch) / len(batch))  # what DDP makes of the ranks' mean losses
        if len(batch) > 1 and batch_size >= 2 * world:
            assert min(map(len, rows)) >= 2  # BatchNorm


@given(kind=st.sampled_from([in_memory, by_workers, in_buckets]), n=counts, batch_size=st.integers(1, 30), world=worlds)
@settings(deadline=None)
def test_each_row_is_validated_on_one_rank(kind: Any, n: int, batch_size: int, world: int) -> None:
    assume(n >= world)
    parts = [epoch_of(lambda: kind(n, batch_size, False), rank, world, 0)[0] for rank in range(world)]
    assert sorted(row for batches in parts for batch in batches for row in batch) == list(range(n))
    assert max(len(batch) for batches in parts for batch in batches) <= batch_size
    sizes = [sum(map(len, batches)) for batches in parts]
    assert max(sizes) - min(sizes) <= 1


@given(
    n=st.integers(2, 200),
    batch_size=st.integers(1, 12),
    world=worlds,
    num_steps=st.integers(1, 9),
)
@settings(deadline=None)
def test_each_token_is_the_target_of_one_rank(n: int, batch_size: int, world: int, num_steps: int) -> None:
    assume(n > world and batch_size >= world)
    tokens = torch.arange(1, n + 1)

    def make() -> StreamLoader:
        return StreamLoader(tokens, batch_size, num_steps=num_steps)

    def read() -> tuple[list[Tensor], list[float]]:
        loader = make()
        return [y for _, y, _ in loader], loader.rank_weights

    parts = [on_rank(rank, world, read) for rank in range(world)]
    seen = torch.cat([y[y != PAD] for batches, _ in parts for y in batches])
    assert sorted(seen.tolist()) == list(range(2, n + 1))
    (length,) = {len(batches) for batches, _ in parts}
    for step in range(length):
        counts = [int((batches[step] != PAD).sum()) for batches, _ in parts]
        assert [shares[step] for _, shares in parts] == pytest.approx([c * world / sum(counts) for c in counts])


def test_parts_of_a_consecutive_series_stay_on_their_rank() -> None:
    """Row k of a batch goes on where row k of the batch before ended, on the rank that has its state."""
    batches = [epoch_of(lambda: SequentialLoader(arrays(18), 6), rank, 2, 0)[0] for rank in range(2)]
    assert batches == [[[0, 2, 4], [6, 8, 10], [12, 14, 16]], [[1, 3, 5], [7, 9, 11], [13, 15, 17]]]


def test_a_forecast_is_made_on_every_rank() -> None:
    parts = [epoch_of(lambda: OriginLoader([arrays(1), arrays(2)]), rank, 3, 0)[0] for rank in range(3)]
    assert parts == [[[0], [0, 1]]] * 3


def test_a_rank_without_rows_computes_with_those_of_others() -> None:
    found = [shard(torch.arange(10, 13), rank, 3) for rank in range(3)]
    assert [(rows.tolist(), share) for rows, share in found] == [([10, 11, 12], 3.0), ([10, 11], 0.0), ([10, 11], 0.0)]


@pytest.mark.parametrize(
    ("n", "batch_size", "shuffle", "message"),
    [
        (100, 3, True, "data.batch_size=3 is the batch size over all 4 processes"),
        (3, 10, False, "3 validation or test rows cannot be distributed over 4 processes"),
    ],
)
def test_too_many_processes_are_refused(n: int, batch_size: int, shuffle: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        on_rank(0, 4, lambda: in_memory(n, batch_size, shuffle))
