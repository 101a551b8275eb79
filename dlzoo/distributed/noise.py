"""Random numbers for the rows of a batch that do not depend on how the rows are distributed.

In training, each process draws the numbers of the global batch from the same generator and takes those of its rows, as
a single process would. In validation and test, the numbers of a row depend only on its index in the data, so that
metrics depend neither on the batch size nor on the number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

MASK = 2**24 - 1
GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # splitmix64, as signed numbers


class Noise(Protocol):
    """Draws random numbers for the rows of a batch, of shape (B, ...)."""

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor: ...

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor: ...


class GeneratorNoise:
    """Draws from a generator, or from torch's global one."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(tuple(shape), generator=self.generator, device=device, dtype=dtype)

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return torch.rand(tuple(shape), generator=self.generator, device=device, dtype=dtype)


class GlobalBatchNoise(GeneratorNoise):
    """Draws for the global batch from a generator in the same state on all ranks, and returns the rows of this rank.

    Args:
        places: (B,) indices of this rank's rows in the batch.
        num_rows: size of the global batch.
    """

    def __init__(self, generator: torch.Generator, places: Tensor, num_rows: int) -> None:
        super().__init__(generator)
        self.places = places
        self.num_rows = num_rows

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return super().normal((self.num_rows, *shape[1:]), device, dtype)[self.places]

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return super().uniform((self.num_rows, *shape[1:]), device, dtype)[self.places]


class PerRowNoise:
    """A pure function of the seed, the index of a row, and the number of previous draws.

    Args:
        rows: (B,) int64 indices.
    """

    def __init__(self, seed: int, rows: Tensor) -> None:
        self.seed = seed
        self.rows = rows
        self.num_draws = 0

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """The Box-Muller transform, 1958."""
        bits = self.bits(shape, device)
        radius, angle = to_unit_interval(bits >> 40), to_unit_interval(bits)
        return ((-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()).to(dtype or torch.get_default_dtype())

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return to_unit_interval(self.bits(shape, device)).to(dtype or torch.get_default_dtype())

    def bits(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Random int64 of this shape: splitmix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014) of each position."""
        self.num_draws += 1
        row_states = splitmix64(
            splitmix64(torch.tensor(self.seed * 1_000_003 + self.num_draws)) + self.rows * GOLDEN
        ).to(device)
        columns = torch.arange(1, math.prod(shape[1:]) + 1, device=device) * GOLDEN
        return splitmix64(row_states[:, None] + columns).view(tuple(shape))


class EvalNoise:
    """Provides the noise of this rank's validation or test rows, batch by batch."""

    def __init__(self, seed: int, rank: int = 0, world: int = 1) -> None:
        self.seed = seed
        self.world = world
        self.next = rank

    def of_next(self, num: int) -> PerRowNoise:
        """The noise of the next ``num`` rows; rank r of W has every W-th row starting from r."""
        rows = self.next + self.world * torch.arange(num)
        self.next += self.world * num
        return PerRowNoise(self.seed, rows)


def splitmix64(bits: Tensor) -> Tensor:
    """The output function of splitmix64; int64 wraps around as unsigned integers do."""
    bits = (bits ^ (bits >> 30 & 2**34 - 1)) * FIRST
    bits = (bits ^ (bits >> 27 & 2**37 - 1)) * SECOND
    return bits ^ (bits >> 31 & 2**33 - 1)


def to_unit_interval(bits: Tensor) -> Tensor:
    """Floats in [0, 1), from the lowest 24 bits."""
    return (bits & MASK).float() / 2**24
