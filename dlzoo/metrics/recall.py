"""How well an associative memory recalls its patterns: from more and more noise, and of more and more patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlzoo.distributed.noise import Noise, PerRowNoise
from dlzoo.nets.base import AssociativeMemory

RECALLED = 0.9
"""A pattern is recalled if the overlap with it is at least this: one unit in twenty may be wrong. Below the capacity of
Hebb's rule the overlap is at least 0.967 (Amit et al., 1985), above it about 0.35."""
RISE = 1e-9
"""An energy that rises by more than this per unit has risen, and was not rounded."""


class Recall(NamedTuple):
    """The recall of P patterns, each from one corrupted state."""

    overlap: Tensor
    """(P,): mean product of the units of the pattern and of the state it is recalled as."""
    energies: Tensor
    """(T, P) float64: before the first and after each update of all units."""

    @property
    def recalled(self) -> Tensor:
        """The fraction of patterns that are recalled."""
        return (self.overlap >= RECALLED).double().mean()

    @property
    def num_rises(self) -> int:
        """How often the energy of a state has risen."""
        return int((self.energies.diff(dim=0) > RISE).sum())


def flipped(states: Tensor, fraction: float, noise: Noise) -> Tensor:
    """States (B, N) with the sign of exactly this fraction of each row's units changed, rounded to whole units."""
    order = noise.uniform(states.shape, states.device).argsort(dim=1, stable=True)
    chosen = order[:, : round(fraction * states.shape[1])]
    return states.scatter(1, chosen, -states.gather(1, chosen))


def recall(memory: AssociativeMemory, flip: float, seed: int, *, max_patterns: int | None = None) -> Recall:
    """Recall the stored patterns, or the first ``max_patterns`` of them, from a fraction ``flip`` of flipped units."""
    patterns = memory.patterns.detach()[:max_patterns]
    state = flipped(patterns, flip, PerRowNoise(seed, torch.arange(len(patterns))))
    energies = [memory.energy(state) / patterns.shape[1]]
    for after in memory.states(state):
        state = after
        energies.append(memory.energy(state) / patterns.shape[1])
    return Recall((state * patterns).mean(1), torch.stack(energies))


def by_noise(memory: AssociativeMemory, flips: Iterable[float], seed: int, *, max_patterns: int) -> list[float]:
    """The mean overlap for each fraction of flipped units."""
    return [float(recall(memory, flip, seed, max_patterns=max_patterns).overlap.mean()) for flip in flips]


def by_load(
    make: Callable[[int], AssociativeMemory], nums: Sequence[int], num_units: int, flip: float, seed: int, *,
    max_patterns: int,
) -> list[float]:  # fmt: skip
    """The fraction of random patterns that are recalled from a fraction ``flip`` of flipped units.

    Args:
        make: a memory for a number of patterns of ``num_units`` units.
        nums: numbers of patterns.
    """
    fractions = []
    for num in nums:
        draw = torch.Generator().manual_seed(seed)
        memory = make(num)
        memory.store((torch.rand(num, num_units, generator=draw) < 0.5).to(memory.patterns.dtype) * 2 - 1)
        fractions.append(float(recall(memory, flip, seed, max_patterns=max_patterns).recalled))
    return fractions


def knee(loads: Sequence[float], recalled: Sequence[float]) -> float:
    """The load at which half of the patterns are recalled, by linear interpolation; the last one if it is not reached.

    >>> round(knee([0.1, 0.12, 0.14], [1.0, 0.75, 0.25]), 3)
    0.13
    """
    for i in range(1, len(loads)):
        if recalled[i] <= 0.5:
            above = (recalled[i - 1] - 0.5) / max(recalled[i - 1] - recalled[i], 1e-12)
            return loads[i - 1] + min(max(above, 0.0), 1.0) * (loads[i] - loads[i - 1])
    return loads[-1]
