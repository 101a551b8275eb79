"""Batches of texts: buckets of like length for whole texts, parallel streams for language models."""

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

FEWEST = 16
"""Passages of a text in validation and test."""
POOL = 20
"""Batches whose rows are sorted by length together: long enough for little padding, short enough to stay random."""


@dataclass(frozen=True)
class Texts:
    """The texts of a split, one behind the other.

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
        """The texts of these numbers (n,), a copy; of longer ones the ``keep`` ``max_length`` tokens."""
        starts, lengths = self.starts[rows], self.lengths[rows]
        if max_length is not None:
            surplus = (lengths - max_length).clamp(min=0)
            starts, lengths = starts + surplus * (keep == "last"), lengths - surplus
        ends = lengths.cumsum(0)
        new_starts = torch.cat([ends.new_zeros(1), ends])
        places = torch.arange(int(new_starts[-1])) + (starts - new_starts[:-1]).repeat_interleave(lengths)
        return Texts(self.tokens[places], new_starts, self.y[rows])

    def padded(self, rows: Tensor) -> Tensor:
        """The texts of these numbers as (n, L) int64, filled up with `PAD` to the longest of them."""
        starts = self.starts[rows]
        lengths = self.starts[rows + 1] - starts
        steps = torch.arange(int(lengths.max()), device=rows.device)
        places = (starts[:, None] + steps).clamp_(max=len(self.tokens) - 1)
        return self.tokens[places].long().masked_fill_(steps >= lengths[:, None], PAD)


class BucketLoader(Loader):
    """Batches (x, y) of texts of like length, each padded to its longest only.

    In training, random rows are sorted by length within pools of `POOL` batches, and the batches come in random order;
    otherwise all rows go from the shortest to the longest.
    """

    def __init__(self, texts: Texts, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(texts.num_rows, batch_size, shuffle=shuffle, seed=seed)
        self.texts = texts
        self.lengths = texts.lengths.cpu()

    def whole_batches(self, order: Tensor) -> list[Tensor]:
        pools = [self.by_length(pool) for pool in order.split(self.batch_size * POOL)]
        batches = super().whole_batches(torch.cat(pools))
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch + 1)
        return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]

    def eval_rows(self) -> Tensor:
        return self.by_length(super().eval_rows())

    def by_length(self, rows: Tensor) -> Tensor:
        return rows[self.lengths[rows.cpu()].argsort(stable=True).to(rows.device)]

    def iterate(self, start: int) -> Iterator[Batch]:
        for rows in self.batches(self.texts.y.device)[start:]:
            yield Batch(self.texts.padded(rows), self.texts.y[rows])


def in_rows(tokens: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """A text (N,) as x and y, both (num_rows, T): y is x moved on by one token, so every token but the first is a
    target exactly once. Where the text does not fill the rows, `PAD` stands behind its end, which is no target."""
    length = -(-max(len(tokens) - 1, 0) // num_rows)
    text = torch.cat([tokens, tokens.new_full((num_rows * length + 1 - len(tokens),), PAD)])
    return text[:-1].view(num_rows, -1), text[1:].view(num_rows, -1)


class PassageLoader(Loader):
    """Batches (x, y), each (B, T), of the passages of one long text, for validation and test: see `in_rows`.

    How long they are depends on the text alone, and each is read by itself, so that neither the size of a batch nor
    the number of ranks has a say in what is measured.

    Args:
        tokens: (N,) int64.
        batch_size: passages, of each rank.
        num_steps: tokens of a passage at most; a short text has `FEWEST` passages nevertheless.
    """

    def __init__(self, tokens: Tensor, batch_size: int, *, num_steps: int) -> None:
        num_targets = max(len(tokens) - 1, 1)
        length = min(num_steps, -(-num_targets // FEWEST))
        self.x, self.y = in_rows(tokens, -(-num_targets // length))
        super().__init__(len(self.x), batch_size)

    def iterate(self, start: int) -> Iterator[Batch]:
        for rows in self.batches(self.x.device)[start:]:
            yield Batch(self.x[rows], self.y[rows])


class StreamLoader(Loader):
    """Batches (x, y), each (B, T), of one long text that is read in B parallel streams, for truncated BPTT: `in_rows`.

    A row of a batch goes on where the same row of the batch before ended, so that a net's state can be carried over.
    The first batch has a length of its own each epoch, so that the cuts fall elsewhere.

    Args:
        tokens: (N,) int64.
        batch_size: streams, of all ranks together.
        num_steps: tokens of each stream in a batch.
    """

    def __init__(self, tokens: Tensor, batch_size: int, *, num_steps: int, seed: int = 0) -> None:
        super().__init__(max(len(tokens) - 1, 0), batch_size, shuffle=True, seed=seed)
        self.num_steps = num_steps
        rank, world = rank_and_world()
        self.num_streams = max(min(batch_size, self.num_rows), 1)
        x, self.targets = in_rows(tokens, self.num_streams)
        self.length = x.shape[1]
        # ranks have equally many steps, and their streams lie side by side in the text
        self.x, self.y = x[rank::world], self.targets[rank::world]

    def cuts(self) -> list[int]:
        """The lengths of the epoch's batches."""
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        first = int(torch.randint(self.num_steps, (1,), generator=draw))
        lengths = [min(first, self.length)] if first else []
        while left := self.length - sum(lengths):
            lengths.append(min(self.num_steps, left))
        return lengths

    def __len__(self) -> int:
        return len(self.cuts())

    def places(self, index: int) -> tuple[Tensor, int]:
        rank, world = rank_and_world()
        return torch.arange(rank, self.num_streams, world), self.num_streams

    def rows_of(self, index: int) -> Tensor:
        """The numbers in the text of the first token of each stream in a batch."""
        rank, world = rank_and_world()
        return torch.arange(rank, self.num_streams, world) * self.length + sum(self.cuts()[:index])

    def iterate(self, start: int) -> Iterator[Batch]:
        cuts = self.cuts()
        whole, own = ((y != PAD).sum(0).split(cuts) for y in (self.targets, self.y))
        self.shares = [float(o.sum() * rank_and_world()[1] / w.sum()) for o, w in zip(own, whole, strict=True)]
        yield from map(Batch, self.x.split(cuts, 1)[start:], self.y.split(cuts, 1)[start:])
