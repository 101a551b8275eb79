"""ε-greedy exploration with linear annealing."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from dlzoo.errors import at_least, between
from dlzoo.nets.base import Net
from dlzoo.specs.environments import EnvSpec, StatesSpec
from dlzoo.tasks.optimization import TaskOptions
from dlzoo.tasks.rl.agent import Agent


class ExplorationOptions(TaskOptions, total=False):
    """The keyword arguments of `EpsilonGreedyAgent`, for its subclasses to pass on."""

    gamma: float
    epsilon_start: float
    epsilon_end: float
    epsilon_steps: int


class EpsilonGreedyAgent(Agent):
    """An agent that acts randomly with probability ``epsilon``, else greedily.

    Args:
        gamma: discount factor.
        epsilon_start: initial probability of a random action.
        epsilon_end: final probability, from ``epsilon_steps`` on.
        epsilon_steps: environment steps over which it is annealed linearly.
    """

    def __init__(
        self,
        net: Net,
        spec: EnvSpec | StatesSpec,
        *,
        gamma: float = 0.99,
        epsilon_start: float = 1.0,
        epsilon_end: float = 0.05,
        epsilon_steps: int = 10_000,
        **options: Unpack[TaskOptions],
    ) -> None:
        super().__init__(net, spec, **options)
        between(0, 1, "task", gamma=gamma, epsilon_start=epsilon_start, epsilon_end=epsilon_end)
        at_least(1, "task", epsilon_steps=epsilon_steps)
        self.gamma = gamma
        self.epsilon_start = epsilon_start
        self.epsilon_end = epsilon_end
        self.epsilon_steps = epsilon_steps

    @property
    def epsilon(self) -> float:
        """The current probability of a random action."""
        progress = min(self.num_steps / self.epsilon_steps, 1.0)
        return self.epsilon_start + progress * (self.epsilon_end - self.epsilon_start)

    def act(self, observations: np.ndarray) -> np.ndarray:
        num = len(observations)
        is_random = self.rng.random(num) < self.epsilon
        if is_random.all():
            return self.rng.integers(self.num_actions, size=num)
        actions = self.greedy(observations)
        if is_random.any():
            actions = np.where(is_random, self.rng.integers(self.num_actions, size=num), actions)
        return actions

    def extra_metrics(self) -> dict[str, float]:
        return {"epsilon": self.epsilon}
