"""A random agent: the baseline for learned ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dlzoo.errors import UserError
from dlzoo.rl.environments import Transitions
from dlzoo.tasks.rl.agent import Agent
from dlzoo.tasks.views import View


class RandomAgent(Agent):
    """Uniformly random actions, in evaluation too."""

    uses_optimizer = False

    def act(self, observations: np.ndarray) -> np.ndarray:
        return self.rng.integers(self.num_actions, size=len(observations))

    greedy = act

    def observe(self, transitions: Transitions) -> None:
        pass

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        raise UserError("a random agent has no trained net: there is nothing to export")
