"""The delta rule, also called the Widrow-Hoff rule or LMS: a linear output moves towards +1 for its class, else -1.

B. Widrow, M. E. Hoff, "Adaptive Switching Circuits", IRE WESCON Convention Record 4, 1960:
w <- w + rate * (wanted - output) * x. Unlike Rosenblatt's rule it corrects outputs that are on the right side too, so
it goes down the squared error, towards the least-squares solution, whether the classes can be separated or not. The
rule gives the gradient, so that any optimizer of the house can apply it; plain SGD gives the rule itself, averaged over
the rows of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.base import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.manual import ManualTask
from dlzoo.tasks.supervised import Classification


class DeltaRule(ManualTask, Classification):  # type: ignore[misc]  # training_step gives no loss
    """For nets of linear units: ``net.linear`` holds the weights.

    Metrics: loss is half the squared error, summed over the units.
    """

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

    def error(self, outputs: Tensor, target: Tensor) -> Tensor:
        """What each unit lacks, wanted - output: (B, U), of the net's outputs (B, K).

        Args:
            target: (B,) classes, or (B, K) their shares after mixing.
        """
        num_units, num_classes = self.net.linear.out_features, outputs.shape[1]
        shares = F.one_hot(target, num_classes) if target.ndim == 1 else target
        return (2 * shares - 1 - outputs)[:, -num_units:]

    def loss(self, outputs: Any, target: Tensor, weight: Tensor | None = None) -> Tensor:
        each = self.error(outputs, target).square().sum(1) / 2
        factors = self.objective.weights(target, weight)
        return each.mean() if factors is None else (each * factors).sum() / self._total(factors)

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, weight = Batch(*batch)
        outputs = self(x)
        error = self.error(outputs, target)
        count = self.weight_of(target, weight)
        each = error * weight[0][:, None] if weight else error
        x = self.standardize(x).flatten(1).to(each.dtype)
        self.add_gradient(self.net.linear.weight, -(each.T @ x) / count, reduction="mean")
        self.add_gradient(self.net.linear.bias, -each.sum(0) / count, reduction="mean")
        self.log_step(count, loss=self.loss(outputs, target, weight))
        self.log_step(len(target), **self.objective.train_measures(outputs, target))
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()
