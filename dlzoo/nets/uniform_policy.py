"""A uniform policy: the same value for every action and observation. A baseline for reinforcement learning.

>>> from dlzoo.specs.targets import Actions
>>> from dlzoo.layers.basic import num_parameters
>>> num_parameters(UniformPolicy(EnvSpec("CartPole-v1", (4,), Actions(("0", "1")))))
0
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlzoo.nets.base import Net
from dlzoo.specs.environments import EnvSpec, StatesSpec


class UniformPolicy(Net):
    """For every environment."""

    accepts = (EnvSpec, StatesSpec)

    def __init__(self, spec: EnvSpec | StatesSpec) -> None:
        super().__init__()
        self.num_actions = spec.target.num_outputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, ...) -> (B, K) zeros."""
        return torch.zeros(len(x), self.num_actions, device=x.device)
