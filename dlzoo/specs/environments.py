"""Specs of environments: what an agent sees, what it can do, and when an episode is cut.

Both stand beside those of dlzoo/specs/inputs.py. A batch of an environment is no pair of tensors but a block of play
(dlzoo/rl/environments.py); ``example`` gives observations, and for each an action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dlzoo.specs.base import Spec
from dlzoo.specs.checks import check_range, check_statistics
from dlzoo.specs.targets import Actions


@dataclass(frozen=True)
class EnvSpec(Spec):
    """An environment that shows vectors (B, D) float32, or pictures (B, C, H, W) float32 in [0, 1].

    ``max_steps`` is where an episode is cut (0: never), ``solved`` the mean return from which its authors call it
    solved. ``mean`` and ``std`` are per feature, fitted on random play, or empty.
    """

    what: ClassVar[str] = "environments"

    id: str
    shape: tuple[int, ...]
    target: Actions
    max_steps: int = 0
    solved: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def check(self) -> None:
        check_range(1, self, shape=self.shape or (0,))
        check_range(0, self, max_steps=self.max_steps)
        if not self.is_image:
            check_statistics(self, self.num_features, self.mean, self.std)

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def num_features(self) -> int:
        return math.prod(self.shape)

    @property
    def environment(self) -> EnvSpec:
        return self

    def describe(self) -> str:
        shown = f"pictures of {'x'.join(map(str, self.shape))}" if self.is_image else f"{self.num_features} numbers"
        return f"the environment {self.id}, which shows {shown} and takes {self.target.num_outputs} actions"

    def example(self, n: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(0)
        x = torch.rand(n, *self.shape, generator=draw) if self.is_image else torch.randn(n, *self.shape, generator=draw)
        return x, self.target.example(n)


@dataclass(frozen=True)
class StatesSpec(Spec):
    """An environment with a finite number of states, which it shows as their numbers (B,) int64."""

    what: ClassVar[str] = "environments of numbered states"
    is_image: ClassVar[bool] = False
    mean: ClassVar[tuple[float, ...]] = ()
    std: ClassVar[tuple[float, ...]] = ()

    id: str
    num_states: int
    target: Actions
    max_steps: int = 0
    solved: float | None = None

    def check(self) -> None:
        check_range(1, self, num_states=self.num_states)
        check_range(0, self, max_steps=self.max_steps)

    @property
    def shape(self) -> tuple[int]:
        """Of what describes a state: one number for each that there is."""
        return (self.num_states,)

    @property
    def environment(self) -> StatesSpec:
        return self

    @property
    def states(self) -> StatesSpec:
        return self

    def describe(self) -> str:
        return (
            f"the environment {self.id}, which has {self.num_states} states and takes {self.target.num_outputs} actions"
        )

    def example(self, n: int) -> tuple[Tensor, Tensor]:
        return torch.arange(n) % self.num_states, self.target.example(n)
