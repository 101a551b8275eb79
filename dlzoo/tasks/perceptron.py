"""Rosenblatt's rule: only wrong outputs are corrected, and no loss has a gradient.

F. Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain",
Psychological Review 65, 1958: w <- w + rate * (wanted - fired) * x. The rule is written into ``.grad`` by hand, so
that any optimizer of the house can apply it; plain SGD gives the rule itself. The corrections of a batch are summed,
over all processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlzoo.distributed.collectives import summed
from dlzoo.errors import UserError
from dlzoo.specs.batch import Batch
from dlzoo.tasks.supervised import Classification


class PerceptronRule(Classification):
    """For nets of threshold units: ``net.linear`` holds the weights, ``net.fire(x)`` gives (B, U) zeros and ones."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.automatic_optimization = False

    def wanted(self, target: Tensor, num_units: int) -> Tensor:
        """(B, U): one unit says the second of two classes, else each unit says one class."""
        if target.ndim > 1:
            raise UserError("the perceptron's rule needs one class a row, but augment= mixes classes: leave that out")
        one_hot = F.one_hot(target, self.spec.target.num_outputs).float()
        return one_hot[:, -num_units:]

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        x, target, _ = Batch(*batch)
        x = self.standardize(x).flatten(1)
        fired = self.net.fire(x)  # type: ignore[operator]
        error = self.wanted(target, fired.shape[1]) - fired
        linear = self.net.linear
        counted = error * bool(self.share)
        linear.weight.grad = summed(-(counted.T @ x))  # type: ignore[union-attr]
        linear.bias.grad = summed(-counted.sum(0))  # type: ignore[union-attr]
        self.optimizers().step()  # type: ignore[union-attr]
        right = (error == 0).all(1).float().mean()
        self.track(len(target), loss=error.abs().mean(), accuracy=right)
