"""Batches of texts: buckets of similar length for whole texts, parallel streams for language models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dlzoo.data.loaders import Loader
from dlzoo.distributed.collectives import rank_and_world
from dlzoo.specs.batch import Batch
from dlzoo.specs.tokenizer import PAD

MIN_PASSAGES = 16
"""Minimum number of passages of a text in validation and test."""
POOL_BATCHES = 20
"""Batches per pool in which rows are sorted by length: large enough for little padding, small enough for randomness."""


@dataclass(frozen=True)
class Texts:
    """The texts of a split, concatenated.

    tokens: (T,) int32; starts: (N + 1,) int64, where each text begins, and the end; y: (N,) int64.
    """

    tokens: Tensor
    starts: Tensor
    y: Tensor

    @property
    def lengths(self) -> Tensor:
        """(N,)"""
        return self.starts.diff()

    @property
    def num_rows(self) -> int:
        return len(self.y)

    @property
    def num_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (self.tokens, self.starts, self.y))

    def to(self, device: torch.device) -> Texts:
        return Texts(self.tokens.to(device), self.starts.to(device), self.y.to(device))

    def take(self, rows: Tensor, max_length: int | None = None, keep: Literal["first", "last"] = "first") -> Texts:
        """A copy of the texts with these indices (n,), truncated to the first or last ``max_length`` tokens."""
        starts, lengths = self.starts[rows], self.lengths[rows]
        if max_length is not None:
            surplus = (lengths - max_length).clamp(min=0)
            starts, lengths = starts + surplus * (keep == "last"), lengths - surplus
        ends = lengths.cumsum(0)
        new_starts = torch.cat([ends.new_zeros(1), ends])
        indices = torch.arange(int(new_starts[-1])) + (starts - new_starts[:-1]).repeat_interleave(lengths)
        return Texts(self.tokens[indices], new_starts, self.y[rows])

    def padded(self, rows: Tensor) -> Tensor:
        """The texts with these indices as (n, L) int64, padded with `PAD` to the longest of them."""
        starts = self.starts[rows]
        lengths = self.starts[rows + 1] - starts
        steps = torch.arange(int(lengths.max()), device=rows.device)
        indices = (starts[:, None] + steps).clamp_(max=len(self.tokens) - 1)
        return self.tokens[indices].long().masked_fill_(steps >= lengths[:, None], PAD)


class LengthLoader(Loader):
    """Batches of rows of similar length.

    In training, shuffled rows are sorted by length within pools of `POOL_BATCHES` batches, and the batches are
    shuffled; otherwise all rows are sorted by length.

    Args:
        lengths: (N,)
    """

    def __init__(self, lengths: Tensor, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(len(lengths), batch_size, shuffle=shuffle, seed=seed)
        self.lengths = lengths.cpu()

    def global_batches(self, order: Tensor) -> list[Tensor]:
        pools = [self.by_length(pool) for pool in order.split(self.batch_size * POOL_BATCHES)]
        batches = super().global_batches(torch.cat(pools))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch + 1)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def eval_rows(self) -> Tensor:
        return self.by_length(super().eval_rows())

    def by_length(self, rows: Tensor) -> Tensor:
        return rows[self.lengths[rows.cpu()].argsort(stable=True).to(rows.device)]


class BucketLoader(LengthLoader):
    """Batches (x, y) of texts of similar length, each padded only to its longest text."""

    def __init__(self, texts: Texts, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(texts.lengths, batch_size, shuffle=shuffle, seed=seed)
        self.texts = texts

    def iterate(self, start: int) -> Iterator[Batch]:
        for rows in self.batches(self.texts.y.device)[start:]:
            yield Batch(self.texts.padded(rows), self.texts.y[rows])


def to_rows(tokens: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """A text (N,) as x and y, both (num_rows, T), where y is x shifted by one token, so every token but the first is a
    target exactly once. Rows that the text does not fill are padded with `PAD`, which is not a target."""
    length = -(-max(len(tokens) - 1, 0) // num_rows)
    text = torch.cat([tokens, tokens.new_full((num_rows * length + 1 - len(tokens),), PAD)])
    return text[:-1].view(num_rows, -1), text[1:].view(num_rows, -1)


class PassageLoader(Loader):
    """Batches (x, y), each (B, T), of the passages of one long text, for validation and test: see `to_rows`.

    Their length depends only on the text, and no state is carried between them, so that metrics depend neither on the
    batch size nor on the number of ranks.

    Args:
        tokens: (N,) int64.
        batch_size: passages per rank.
        num_steps: maximum tokens per passage; fewer for a short text, so that it has `MIN_PASSAGES` passages.
    """

    def __init__(self, tokens: Tensor, batch_size: int, *, num_steps: int) -> None:
        num_targets = max(len(tokens) - 1, 1)
        length = min(num_steps, -(-num_targets // MIN_PASSAGES))
        self.x, self.y = to_rows(tokens, -(-num_targets // length))
        super().__init__(len(self.x), batch_size)

    def iterate(self, start: int) -> Iterator[Batch]:
        for rows in self.batches(self.x.device)[start:]:
            yield Batch(self.x[rows], self.y[rows])


class StreamLoader(Loader):
    """Batches (x, y), each (B, T), of one long text read in B parallel streams, for truncated BPTT: `to_rows`.

    A row of a batch continues the same row of the previous batch, so that a net's state can be carried over. The first
    batch has a random length in each epoch, so that the boundaries vary.

    Args:
        tokens: (N,) int64.
        batch_size: number of streams over all ranks.
        num_steps: tokens per stream in a batch.
    """

    def __init__(self, tokens: Tensor, batch_size: int, *, num_steps: int, seed: int = 0) -> None:
        super().__init__(max(len(tokens) - 1, 0), batch_size, shuffle=True, seed=seed)
        self.num_steps = num_steps
        rank, world = rank_and_world()
        self.num_streams = max(min(batch_size, self.num_rows), 1)
        x, self.targets = to_rows(tokens, self.num_streams)
        self.length = x.shape[1]
        # all ranks make the same number of steps, with adjacent streams of the text
        self.x, self.y = x[rank::world], self.targets[rank::world]

    def batch_lengths(self) -> list[int]:
        """The lengths of the epoch's batches."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        first = int(torch.randint(self.num_steps, (1,), generator=generator))
        lengths = [min(first, self.length)] if first else []
        while left := self.length - sum(lengths):
            lengths.append(min(self.num_steps, left))
        return lengths

    def __len__(self) -> int:
        return len(self.batch_lengths())

    def positions(self, index: int) -> tuple[Tensor, int]:
        rank, world = rank_and_world()
        return torch.arange(rank, self.num_streams, world), self.num_streams

    def rows_of(self, index: int) -> Tensor:
        """The positions in the text of the first token of each stream in a batch."""
        rank, world = rank_and_world()
        return torch.arange(rank, self.num_streams, world) * self.length + sum(self.batch_lengths()[:index])

    def iterate(self, start: int) -> Iterator[Batch]:
        lengths, (_, world) = self.batch_lengths(), rank_and_world()
        total, local = ((y != PAD).sum(0).split(lengths) for y in (self.targets, self.y))
        self.rank_weights = [float(y.sum() * world / all_y.sum()) for y, all_y in zip(local, total, strict=True)]
        self.batch_sizes = [int(y.sum()) for y in total]
        yield from map(Batch, self.x.split(lengths, 1)[start:], self.y.split(lengths, 1)[start:])
