"""Tabular Q-learning: the Q-table is updated after every step.

C. J. C. H. Watkins, P. Dayan, "Q-learning", Machine Learning 8, 1992:
Q(s, a) <- Q(s, a) + rate * (reward + gamma * max Q(s', .) - Q(s, a)), with a zero next value at terminal states.
The rate is the optimizer's, so it can be scheduled; the update is applied directly, to one entry per step.
"""

from __future__ import annotations

from typing import Unpack

import lightning.pytorch as pl
import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from dlzoo.data.environments import Block
from dlzoo.errors import UserError
from dlzoo.nets.q_table import QTable
from dlzoo.rl.environments import Environments, Transitions
from dlzoo.specs.environments import StatesSpec
from dlzoo.tasks.half_precision import HALF
from dlzoo.tasks.rl.epsilon_greedy import EpsilonGreedyAgent, ExplorationOptions


class QLearning(EpsilonGreedyAgent):
    """For Q-tables. The table is a parameter of the net; it stays on the CPU, where NumPy shares its memory."""

    net_type = QTable
    net: QTable

    def __init__(self, net: QTable, spec: StatesSpec, **options: Unpack[ExplorationOptions]) -> None:
        super().__init__(net, spec, **options)
        self.rate = 0.0
        self._errors: list[float] = []

    @property
    def table(self) -> np.ndarray:
        """The Q-table (S, K)."""
        return self.net.table.detach().numpy()

    def begin(self, environments: Environments) -> None:
        self.values = self.table

    def learn_batch(self, batch: Block, batch_idx: int) -> None:
        self.rate = self.learning_rate
        super().learn_batch(batch, batch_idx)
        error = torch.tensor(np.mean(self._errors or [0.0]))
        self.check_finite((error,))
        self.add_mean("td_error", error, len(self._errors))
        self._errors.clear()

    def greedy(self, observations: np.ndarray) -> np.ndarray:
        return self.table[observations].argmax(1)

    def observe(self, transitions: Transitions) -> None:
        values = self.values
        for _, state, action, reward, next_state, terminated, _ in zip(*transitions, strict=True):
            target = reward if terminated else reward + self.gamma * values[next_state].max()
            error = target - values[state, action]
            values[state, action] += self.rate * error
            self._errors.append(abs(error))

    def setup_trainer(self, trainer: pl.Trainer) -> None:
        super().setup_trainer(trainer)
        if trainer.strategy.root_device.type != "cpu":
            raise UserError("Q-tables are trained on the CPU: set trainer=cpu")
        if trainer.precision in HALF:
            raise UserError(f"trainer.precision={trainer.precision}: Q-tables need 32-true or 64-true")
        if self.clip:
            raise UserError("trainer.gradient_clip_val: a Q-table is updated without a gradient; omit it")

    def make_optimizer(self, parameters: ParamsT, **changes: float) -> Optimizer:
        """Only the optimizer's learning rate is used."""
        optimizer = super().make_optimizer(parameters, **changes)
        options = {key: optimizer.defaults.get(key) for key in ("momentum", "weight_decay")}
        if not isinstance(optimizer, torch.optim.SGD) or any(options.values()):
            raise UserError("Q-learning uses a learning rate, but neither momentum nor weight decay: use optimizer=sgd")
        return optimizer
