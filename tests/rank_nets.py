"""Nets that go wrong on one rank only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlzoo.distributed import launch as ranks
from dlzoo.nets.mlp import MLP

BAD_STEP = 3


class OneInfiniteLoss(MLP):
    """On the second rank the loss of one step is infinite, although its gradients are finite: the logit of a class is
    minus infinity by a constant."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_steps = 0

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if not self.training:
            return logits
        self.num_steps += 1
        if ranks.rank() != 1 or self.num_steps != BAD_STEP:
            return logits
        return logits + torch.tensor([-torch.inf] + [0.0] * (logits.shape[1] - 1))
