"""The delta rule, also called the Widrow-Hoff rule or LMS: a linear output is trained towards +1 or -1.

B. Widrow, M. E. Hoff, "Adaptive Switching Circuits", IRE WESCON Convention Record 4, 1960:
w <- w + rate * (target - output) * x. Unlike Rosenblatt's rule it also corrects outputs on the right side, so
it descends the squared error towards the least-squares solution, whether the classes are separable or not. The
rule supplies the gradient, so any optimizer can apply it; plain SGD is the original rule, averaged over
the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.losses.heads import Head
from dlzoo.specs.batch import Batch
from dlzoo.tasks.supervised import LossKind
from dlzoo.tasks.unit_rule import UnitRule


class DeltaRule(UnitRule):
    """For nets of linear units, with weights in ``net.linear``.

    Metrics: loss is half the squared error, summed over the units.
    """

    def error(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Target minus output of each unit, (B, U), for the net's outputs (B, K).

        Args:
            target: (B,) classes, or (B, K) class weights after mixing.
        """
        num_units, num_classes = self.net.linear.out_features, outputs.shape[1]
        weights = F.one_hot(target, num_classes) if target.ndim == 1 else target
        return (2 * weights - 1 - outputs)[:, -num_units:]

    def mean_loss(
        self, head: Head, output: Tensor, target: Tensor, weight: Tensor | None = None, kind: LossKind = "minimized"
    ) -> Tensor:
        each = self.error(output, target).square().sum(1) / 2
        return each.mean() if weight is None else (each * weight).sum() / self._total(weight)

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, weight = Batch(*batch)
        outputs = self(x)
        error = self.error(outputs, target)
        count = self.weight_of(target, weight)
        each = error if weight is None else error * weight[:, None]
        x = self.standardize(x).flatten(1).to(each.dtype)
        self.add_correction(each / count, x, reduction="mean")
        self.log_step(count, loss=self.loss(outputs, target, weight))
        self.log_step(len(target), **self.objective.train_measures(outputs, target))
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()
