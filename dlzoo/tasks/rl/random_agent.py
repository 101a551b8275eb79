"""Play at random: what an agent is worth that learns nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dlzoo.errors import UserError
from dlzoo.rl.environments import Transitions
from dlzoo.tasks.rl.agent import Player
from dlzoo.tasks.views import View


class RandomPlay(Player):
    """Every action is as likely as any other, when it is evaluated too."""

    uses_optimizer = False

    def act(self, observations: np.ndarray) -> np.ndarray:
        return self.rng.integers(self.num_actions, size=len(observations))

    greedy = act

    def observe(self, made: Transitions) -> None:
        pass

    def export_views(self) -> Mapping[str, Callable[[], View]]:
        raise UserError("an agent that plays at random has learnt nothing: there is nothing to export")
