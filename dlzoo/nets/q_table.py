"""A Q-table: one value for each action in each state.

C. J. C. H. Watkins, "Learning from Delayed Rewards", PhD thesis, Cambridge 1989.

>>> from dlzoo.specs.targets import Actions
>>> from dlzoo.layers.basic import num_parameters
>>> num_parameters(QTable(StatesSpec("Taxi-v3", 500, Actions(tuple("012345")))))
3000
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlzoo.nets.base import Net
from dlzoo.specs.environments import StatesSpec


class QTable(Net):
    """For discrete states.

    Args:
        start: initial value of every entry; an optimistic one encourages exploration.
    """

    accepts = (StatesSpec,)

    def __init__(self, spec: StatesSpec, *, start: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.full((spec.num_states, spec.target.num_outputs), float(start)))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B,) int64 -> (B, K) action values."""
        return self.table[x]
