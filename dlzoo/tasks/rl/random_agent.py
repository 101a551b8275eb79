"""Play at random: what an agent is worth that learns nothing."""

from __future__ import annotations

import numpy as np

from dlzoo.rl.environments import Transitions
from dlzoo.tasks.rl.agent import Player


class RandomPlay(Player):
    """Every action is as likely as any other, when it is evaluated too."""

    uses_optimizer = False

    def act(self, observations: np.ndarray) -> np.ndarray:
        return self.rng.integers(self.num_actions, size=len(observations))

    greedy = act

    def observe(self, made: Transitions) -> None:
        pass
