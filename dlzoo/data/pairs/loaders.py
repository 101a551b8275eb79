"""Pairs of token sequences in memory, and their batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dlzoo.data.text.loaders import BucketLoader, Texts
from dlzoo.specs.batch import Batch


@dataclass(frozen=True)
class Pairs:
    """The pairs of a split: row i of the targets belongs to row i of the sources."""

    sources: Texts
    targets: Texts

    @property
    def num_rows(self) -> int:
        return self.sources.num_rows

    @property
    def num_bytes(self) -> int:
        return self.sources.num_bytes + self.targets.num_bytes

    def to(self, device: torch.device) -> Pairs:
        return Pairs(self.sources.to(device), self.targets.to(device))


class PairLoader(BucketLoader):
    """Batches of pairs with sources of similar length, each side padded to its longest."""

    def __init__(self, pairs: Pairs, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        super().__init__(pairs.sources, batch_size, shuffle=shuffle, seed=seed)
        self.targets = pairs.targets
        self.num_tokens = pairs.targets.lengths.cpu()

    def counts(self) -> Tensor:
        """As losses are means over tokens, each rank, and each of several batches of a step, counts by its tokens."""
        return self.num_tokens

    def iterate(self, start: int) -> Iterator[Batch]:
        for rows in self.batches(self.texts.y.device)[start:]:
            yield Batch(self.texts.padded(rows), self.targets.padded(rows))
