"""Rosenblatt's rule: only wrong outputs are corrected, and no loss has a gradient.

F. Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain",
Psychological Review 65, 1958: w <- w + rate * (wanted - fired) * x. The rule gives the gradient, so that any optimizer
of the house can apply it; plain SGD gives the rule itself. The corrections of a batch are summed, over all processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.base import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.supervised import Classification


class PerceptronRule(ManualTask, Classification):  # type: ignore[misc]  # training_step gives no loss
    """For nets of threshold units: ``net.linear`` holds the weights, ``net.fire(x)`` gives (B, U) zeros and ones."""

    gradients_by_hand = True
    net: Any

    def __init__(
        self,
        net: Any,
        spec: Spec,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)

    def wanted(self, target: Tensor, num_units: int) -> Tensor:
        """(B, U): one unit says the second of two classes, else each unit says one class."""
        if target.ndim > 1:
            raise UserError("the perceptron's rule needs one class a row, but augment= mixes classes: leave that out")
        one_hot = F.one_hot(target, self.spec.target.num_outputs).float()
        return one_hot[:, -num_units:]

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, weight = Batch(*batch)
        x = self.standardize(x).flatten(1)
        fired = self.net.fire(x)
        error = self.wanted(target, fired.shape[1]) - fired
        correction = error if weight is None else error * weight[:, None]
        self.add_gradient(self.net.linear.weight, -(correction.T @ x), reduction="sum")
        self.add_gradient(self.net.linear.bias, -correction.sum(0), reduction="sum")
        right = (error == 0).all(1).float().mean()
        self.log_step(len(target), loss=error.abs().mean(), accuracy=right)
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()
