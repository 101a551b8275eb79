"""No net at all: every action is worth the same, whatever is observed. The baseline of reinforcement learning.

>>> from dlzoo.specs.targets import Actions
>>> from dlzoo.layers.basic import num_parameters
>>> num_parameters(Dice(EnvSpec("CartPole-v1", (4,), Actions(("0", "1")))))
0
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dlzoo.specs.environments import EnvSpec, StatesSpec


class Dice(nn.Module):
    """For every environment."""

    accepts: ClassVar[tuple[type, ...]] = (EnvSpec, StatesSpec)

    def __init__(self, spec: EnvSpec | StatesSpec) -> None:
        super().__init__()
        self.num_actions = spec.target.num_outputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, ...) -> (B, K) zeros."""
        return torch.zeros(len(x), self.num_actions, device=x.device)
