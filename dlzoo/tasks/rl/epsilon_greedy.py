"""ε-greedy: mostly the best action, now and then any, less and less often."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlzoo.errors import UserError, at_least
from dlzoo.tasks.rl.agent import Player


class Exploring(Player):
    """An agent whose exploration ends: greedy by the net, at random with probability ``epsilon``.

    Args:
        gamma: what a reward is worth that comes a step later.
        epsilon_start: share of random actions at the beginning.
        epsilon_end: and from ``epsilon_steps`` on.
        epsilon_steps: environment steps over which the share falls, along a line.
    """

    def __init__(
        self,
        *args: Any,
        gamma: float = 0.99,
        epsilon_start: float = 1.0,
        epsilon_end: float = 0.05,
        epsilon_steps: int = 10_000,
        **common: Any,
    ) -> None:
        super().__init__(*args, **common)
        for key, value in {"gamma": gamma, "epsilon_start": epsilon_start, "epsilon_end": epsilon_end}.items():
            if not 0 <= value <= 1:
                raise UserError(f"task.{key}={value} must lie between 0 and 1")
        at_least(1, "task", epsilon_steps=epsilon_steps)
        self.gamma = gamma
        self.epsilon_start = epsilon_start
        self.epsilon_end = epsilon_end
        self.epsilon_steps = epsilon_steps

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        done = min(self.num_steps / self.epsilon_steps, 1.0)
        return self.epsilon_start + done * (self.epsilon_end - self.epsilon_start)

    def act(self, observations: np.ndarray) -> np.ndarray:
        num = len(observations)
        at_random = self.rng.random(num) < self.epsilon
        if at_random.all():
            return self.rng.integers(self.num_actions, size=num)
        actions = self.greedy(observations)
        if at_random.any():
            actions = np.where(at_random, self.rng.integers(self.num_actions, size=num), actions)
        return actions

    def figures(self) -> dict[str, float]:
        return {"epsilon": self.epsilon}
