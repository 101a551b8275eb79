"""Recordings of sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from dlzoo.specs.base import Difference, Port, Spec, Target
from dlzoo.specs.batch import TensorOrDict
from dlzoo.specs.checks import check_range

MAX_LENGTH = 10_000_000
"""Samples of a recording: 3.5 minutes at 48 kHz."""
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 100, 384_000


@dataclass(frozen=True)
class AudioSpec(Spec):
    """Recordings: (B, 1, L) float32 in [-1, 1], one channel, filled up with zeros behind each recording's end.

    A recording ends with its last sample other than zero, see `dlzoo.layers.mu_law.lengths`. ``is_normalized`` says
    that each is scaled so that its loudest sample is 1 or -1.
    """

    what: ClassVar[str] = "recordings"
    mean: ClassVar[tuple[float, ...]] = ()  # samples have no mean, and nets see their logarithms or scale them
    std: ClassVar[tuple[float, ...]] = ()

    sample_rate: int
    length: int
    target: Target
    is_normalized: bool = False

    def check(self) -> None:
        check_range(MIN_SAMPLE_RATE, self, MAX_SAMPLE_RATE, sample_rate=self.sample_rate)
        check_range(1, self, MAX_LENGTH, length=self.length)

    @property
    def shape(self) -> tuple[int, int]:
        return (1, self.length)

    @property
    def num_features(self) -> int:
        return self.length

    @property
    def seconds(self) -> float:
        return self.length / self.sample_rate

    @property
    def audio(self) -> AudioSpec:
        return self

    def describe(self) -> str:
        return f"recordings of {self.seconds:.4g} seconds at {self.sample_rate:,} Hz"

    def ports(self) -> tuple[Port, ...]:
        scaled = ", the loudest of a recording 1 or -1" if self.is_normalized else ""
        meaning = f"samples from -1 to 1 at {self.sample_rate} Hz{scaled}; zeros behind the end"
        return (Port("sound", "float32", ("batch", *self.shape), meaning),)

    def metadata(self) -> dict[str, object]:
        return super().metadata() | {"sample_rate": self.sample_rate, "is_normalized": self.is_normalized}

    def input_difference(self, other: Self) -> Difference:
        if sizes := super().input_difference(other):
            return sizes
        if self.sample_rate != other.sample_rate:
            return self.describe(), other.describe()
        if self.is_normalized != other.is_normalized:
            return f"data.normalize={self.is_normalized}", f"data.normalize={other.is_normalized}"
        return None

    def example(self, n: int) -> tuple[Tensor, TensorOrDict]:
        x = torch.rand(n, *self.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return x, self.target.example(n)
