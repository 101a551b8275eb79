"""Random numbers of the rows of a batch, drawn so that they are the same however the rows are cut up.

In training, several processes draw the numbers of the whole batch from one generator and take those of their rows: they
see what one process would see. In validation and test the numbers of a row depend on its place in the data alone, so
that neither the size of a batch nor the number of processes has a say in what is measured.
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
    """Draws for the rows of a batch: shapes are (B, ...)."""

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor: ...

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor: ...


class Drawn:
    """What a generator gives, or torch's own."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(tuple(shape), generator=self.generator, device=device, dtype=dtype)

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return torch.rand(tuple(shape), generator=self.generator, device=device, dtype=dtype)


class Shared(Drawn):
    """What a generator, in the same state on all ranks, gives the whole batch, for the rows of this rank.

    Args:
        places: (B,) of this rank's rows in the batch.
        num_rows: of the batch.
    """

    def __init__(self, generator: torch.Generator, places: Tensor, num_rows: int) -> None:
        super().__init__(generator)
        self.places = places
        self.num_rows = num_rows

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return super().normal((self.num_rows, *shape[1:]), device, dtype)[self.places]

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return super().uniform((self.num_rows, *shape[1:]), device, dtype)[self.places]


class ByRow:
    """A pure function of the seed, the number of a row, and how often it was drawn for.

    Args:
        rows: (B,) int64.
    """

    def __init__(self, seed: int, rows: Tensor) -> None:
        self.seed = seed
        self.rows = rows
        self.num_draws = 0

    def normal(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """By G. E. P. Box, M. E. Muller, 1958."""
        bits = self.bits(shape, device)
        radius, angle = fraction(bits >> 40), fraction(bits)
        return ((-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()).to(dtype or torch.get_default_dtype())

    def uniform(self, shape: Sequence[int], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        return fraction(self.bits(shape, device)).to(dtype or torch.get_default_dtype())

    def bits(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """int64 of this shape. splitmix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014) of the place of each."""
        self.num_draws += 1
        begun = mixed(mixed(torch.tensor(self.seed * 1_000_003 + self.num_draws)) + self.rows * GOLDEN).to(device)
        columns = torch.arange(1, math.prod(shape[1:]) + 1, device=device) * GOLDEN
        return mixed(begun[:, None] + columns).view(tuple(shape))


class EvalNoise:
    """Hands out the noise of the rows that this rank validates or tests, batch by batch."""

    def __init__(self, seed: int, rank: int = 0, world: int = 1) -> None:
        self.seed = seed
        self.world = world
        self.next = rank

    def of_next(self, num: int) -> ByRow:
        """For so many rows; rank r of W has each W-th from the r-th on."""
        rows = self.next + self.world * torch.arange(num)
        self.next += self.world * num
        return ByRow(self.seed, rows)


def mixed(bits: Tensor) -> Tensor:
    """The last step of splitmix64; int64 wraps around as its unsigned numbers do."""
    bits = (bits ^ (bits >> 30 & 2**34 - 1)) * FIRST
    bits = (bits ^ (bits >> 27 & 2**37 - 1)) * SECOND
    return bits ^ (bits >> 31 & 2**33 - 1)


def fraction(bits: Tensor) -> Tensor:
    """In [0, 1), from the lowest 24 bits."""
    return (bits & MASK).float() / 2**24
