"""Random binary sequences and their number of ones: the smallest task that requires memory."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from dlzoo.data.base import InMemoryData
from dlzoo.data.generated import check_size
from dlzoo.data.loaders import Arrays
from dlzoo.errors import at_least
from dlzoo.specs.base import Spec
from dlzoo.specs.inputs import SequenceSpec
from dlzoo.specs.targets import Values


class Counting(InMemoryData):
    """Fair random bits (B, T, 1) as floats, and their sum (B, 1).

    Args:
        length: bits per sequence.
        num_samples: sequences for training and validation; a quarter as many are for testing.
        sample_seed: draws the sequences; independent of the run's seed, so that runs are comparable.
    """

    kind: ClassVar[type[Spec]] = SequenceSpec

    def __init__(
        self,
        *,
        length: int = 10,
        num_samples: int = 1000,
        sample_seed: int = 0,
        batch_size: int = 50,
        seed: int = 0,
        placement: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, placement=placement)
        at_least(1, "data", length=length)
        at_least(10, "data", num_samples=num_samples)
        check_size(num_samples=num_samples, length=length)
        self.length = length
        self.num_samples = num_samples
        self.sample_seed = sample_seed

    def declare(self) -> SequenceSpec:
        return SequenceSpec(self.length, 1, Values(("ones",)))

    def load(self, split: Literal["train", "test"]) -> Arrays:
        num = self.num_samples if split == "train" else self.num_samples // 4
        draw = torch.Generator().manual_seed(2 * self.sample_seed + (split == "test"))
        x = torch.randint(2, (num, self.length, 1), generator=draw).float()
        return Arrays(x, x.sum(1))
