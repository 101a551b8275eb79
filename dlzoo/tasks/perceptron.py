"""Rosenblatt's rule: only wrong outputs are corrected, and no loss has a gradient.

F. Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain",
Psychological Review 65, 1958: w <- w + rate * (target - output) * x. The rule supplies the gradient, so any optimizer
can apply it; plain SGD is the original rule. Corrections are summed over the batch and over all processes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.errors import UserError
from dlzoo.specs.batch import Batch
from dlzoo.tasks.unit_rule import UnitRule


class PerceptronRule(UnitRule):
    """For nets of threshold units, with weights in ``net.linear`` and (B, U) binary outputs from ``net.fire(x)``."""

    def unit_targets(self, target: Tensor, num_units: int) -> Tensor:
        """(B, U): a single unit fires for the second of two classes, else each unit for its class."""
        if target.ndim > 1:
            raise UserError("the perceptron rule needs one class per row, but augment= mixes classes: omit it")
        one_hot = F.one_hot(target, self.spec.target.num_outputs).float()
        return one_hot[:, -num_units:]

    @torch.no_grad()
    def learn_batch(self, batch: Batch, batch_idx: int) -> None:
        x, target, weight = Batch(*batch)
        x = self.standardize(x).flatten(1)
        fired = self.net.fire(x)
        error = self.unit_targets(target, fired.shape[1]) - fired
        correction = error if weight is None else error * weight[:, None]
        self.add_correction(correction, x, reduction="sum")
        correct = (error == 0).all(1).float().mean()
        self.log_step(len(target), loss=error.abs().mean(), accuracy=correct)
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()
