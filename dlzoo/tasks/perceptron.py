"""Rosenblatt's rule: only wrong outputs are corrected, and no loss has a gradient.

F. Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain",
Psychological Review 65, 1958: w <- w + rate * (target - output) * x. The rule supplies the gradient, so any optimizer
can apply it; plain SGD is the original rule. Corrections are summed over the batch and over all processes.

The rule stops at the first line that separates the training rows, however close it passes to some of them. With a
margin it goes on until each is that far from it: W. Krauth, M. Mézard, "Learning algorithms with optimal stability in
neural networks", Journal of Physics A 20, 1987.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.errors import UserError, at_least
from dlzoo.nets.base import LinearUnits
from dlzoo.nets.perceptron import Perceptron
from dlzoo.specs.base import Spec
from dlzoo.specs.batch import Batch
from dlzoo.tasks.optimization import OptimizerFactory, SchedulerFactory
from dlzoo.tasks.unit_rule import UnitRule


class PerceptronRule(UnitRule):
    """For nets of threshold units, with weights in ``net.linear`` and their weighted sums (B, U) from ``net.pre(x)``.

    Args:
        margin: also correct right outputs whose w·x + b is closer to zero than this; its size is relative to that of
            the steps, ``optimizer.lr`` times the inputs. 0 is Rosenblatt's rule.
    """

    net: Perceptron

    def __init__(
        self,
        net: LinearUnits,
        spec: Spec,
        *,
        margin: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(net, spec, optimizer=optimizer, scheduler=scheduler)
        at_least(0, "task", margin=margin)
        self.margin = margin

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
        sums = self.net.pre(x)
        wanted = self.unit_targets(target, sums.shape[1])
        error = wanted - (sums > 0).to(sums.dtype)
        side = 2 * wanted - 1
        correction = torch.where(side * sums < self.margin, side, error)
        if weight is not None:
            correction = correction * weight[:, None]
        self.add_correction(correction, x, reduction="sum")
        correct = (error == 0).all(1).float().mean()
        self.log_step(len(target), loss=error.abs().mean(), accuracy=correct)
        if self.is_last_of_step(batch_idx):
            self.step_optimizer()
