"""What a classifier makes of a test split: how much of each class it recognises, and where it is surely wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.metrics.examples import Examples, join, take, worst
from dlzoo.tasks.interfaces import Predicting


class Recognised(NamedTuple):
    """What became of a test split."""

    first: Examples
    """The first pictures, their classes and logits."""
    mistakes: Examples
    """Wrongly recognised ones likewise, the surest first."""
    counts: Tensor
    """(K, K) pictures by true class and predicted class."""

    def summary_lines(self, names: Sequence[str], most: int = 3) -> list[str]:
        """How much was recognised, and the classes that are recognised best and worst."""
        order, shares = ranked(self.counts)
        best, worst = (
            ", ".join(f"{names[k]} {shares[k]:.1%}" for k in part) for part in (order[:most], order[: -most - 1 : -1])
        )
        return [
            f"{'recognised':14}{share_right(self.counts):.2%} of {self.counts.sum():,} test pictures",
            f"{'best':14}{best}",
            f"{'worst':14}{worst}",
        ]


def recognise(
    task: Predicting, data: DataModule, *, num_first: int, num_mistakes: int, limit: int | None = None
) -> Recognised:
    """Recognise the test split, or its first ``limit`` pictures."""
    data.prepare_data()
    num_classes, left = task.spec.target.num_outputs, limit
    first = mistakes = None
    counts = torch.zeros(num_classes**2, dtype=torch.long)
    for batch in data.test_dataloader():
        batch = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, task.device, 0), 0)
        x, target = batch.inputs[:left], batch.target[:left]
        with torch.inference_mode():
            logits = task.outputs(x)
        if not logits.isfinite().all():
            raise UserError("the net's output is not finite: its training diverged")
        here = (x, target, logits)
        if first is None or len(first[0]) < num_first:
            first = take(join(first, here), slice(num_first))
        mistakes = worst(join(mistakes, worst(here, num_mistakes)), num_mistakes)
        pairs = target * num_classes + logits.argmax(1)
        counts += pairs.cpu().bincount(minlength=len(counts))
        left = None if left is None else left - len(x)
        if left == 0:
            break
    if first is None or mistakes is None:
        raise UserError("the test split is empty: there is nothing to look at")
    return Recognised(first, mistakes, counts.view(num_classes, num_classes))


def share_right(counts: Tensor) -> float:
    """Of all pictures. counts: (K, K), rows are the true classes."""
    return counts.diagonal().sum().item() / max(int(counts.sum()), 1)


def ranked(counts: Tensor) -> tuple[list[int], list[float]]:
    """The classes that have pictures, the best recognised first, and each class's share (NaN where it has none).

    >>> ranked(torch.tensor([[1, 1, 0], [0, 3, 0], [0, 0, 0]]))
    ([1, 0], [0.5, 1.0, nan])
    """
    shares = (counts.diagonal() / counts.sum(1)).tolist()
    present = [k for k, num in enumerate(counts.sum(1).tolist()) if num]
    return sorted(present, key=lambda k: -shares[k]), shares
