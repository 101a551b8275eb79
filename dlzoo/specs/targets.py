"""Targets: what a net learns to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dlzoo.specs.base import Target


@dataclass(frozen=True)
class Classes(Target):
    """Target: one of ``num_outputs`` classes, given as (B,) int64, or as (B, K) probabilities after mixing.

    ``counts`` are the classes' numbers of training rows, or empty.
    """

    what: ClassVar[str] = "classes"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    counts: tuple[int, ...] = ()

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return torch.arange(n) % self.num_outputs

    @property
    def classes(self) -> Classes:
        return self


@dataclass(frozen=True)
class Values(Target):
    """Target: real numbers, (B, D) float32, in the units named."""

    what: ClassVar[str] = "values"

    names: tuple[str, ...]
    units: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return torch.linspace(-1, 1, n * self.num_outputs).view(n, self.num_outputs)

    @property
    def values(self) -> Values:
        return self


@dataclass(frozen=True)
class NextTokens(Target):
    """Target: for each token of a text the one that follows, (B, L) int64; 0, ``<pad>``, where there is none."""

    what: ClassVar[str] = "next tokens"

    num_outputs: int
    names: ClassVar[tuple[str, ...]] = ()  # the vocabulary is the spec's
    units: ClassVar[tuple[str, ...]] = ()

    @property
    def next_tokens(self) -> NextTokens:
        return self


@dataclass(frozen=True)
class Actions(Target):
    """Target: one of ``num_outputs`` actions, to be chosen so that the rewards add up to much."""

    what: ClassVar[str] = "actions"
    units: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def example(self, n: int) -> Tensor:
        return torch.arange(n) % self.num_outputs

    @property
    def actions(self) -> Actions:
        return self
