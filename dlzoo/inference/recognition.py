"""A classifier on the test split: recall of each class, and its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlzoo.data.base import DataModule
from dlzoo.errors import UserError
from dlzoo.metrics.examples import BalancedSample, Examples, join, worst
from dlzoo.specs.batch import first_tensor
from dlzoo.tasks.interfaces import Predicting


class Recognised(NamedTuple):
    """Classification results on a test split."""

    examples: Examples
    """Random images, balanced by class, with their classes and logits."""
    positions: list[int]
    """The index of each of them in the test split."""
    mistakes: Examples
    """Misclassified ones likewise, most confident first."""
    counts: Tensor
    """(K, K) confusion matrix: rows are true classes, columns predicted ones."""

    def summary_lines(self, names: Sequence[str], most: int = 3) -> list[str]:
        """The accuracy, and the classes with the best and worst recall."""
        order, recalls = ranked(self.counts)
        best, worst = (
            ", ".join(f"{names[k]} {recalls[k]:.1%}" for k in part) for part in (order[:most], order[: -most - 1 : -1])
        )
        return [
            f"{'recognised':14}{share_right(self.counts):.2%} of {self.counts.sum():,} test images",
            f"{'best':14}{best}",
            f"{'worst':14}{worst}",
        ]


def recognise(
    task: Predicting, data: DataModule, *, num_examples: int, num_mistakes: int, limit: int | None = None
) -> Recognised:
    """Classify the test split, or its first ``limit`` images."""
    data.prepare_data()
    num_classes, remaining = task.spec.target.num_outputs, limit
    sample, mistakes = BalancedSample(num_examples), None
    counts = torch.zeros(num_classes**2, dtype=torch.long)
    for batch in data.test_dataloader():
        batch = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, task.device, 0), 0)
        x, target = batch.inputs[:remaining], batch.target[:remaining]
        with torch.inference_mode():
            logits = first_tensor(task.outputs(x))  # the only one: a classifier has one target
        if not logits.isfinite().all():
            raise UserError("the net's output is not finite: its training diverged")
        current = (x, target, logits)
        sample.add(current, target)
        mistakes = worst(join(mistakes, worst(current, num_mistakes)), num_mistakes)
        pairs = target * num_classes + logits.argmax(1)
        counts += pairs.cpu().bincount(minlength=len(counts))
        remaining = None if remaining is None else remaining - len(x)
        if remaining == 0:
            break
    if mistakes is None:
        raise UserError("the test split is empty: there is nothing to evaluate")
    x, target, logits = sample.stacked()
    return Recognised((x, target, logits), sample.positions, mistakes, counts.view(num_classes, num_classes))


def share_right(counts: Tensor) -> float:
    """The accuracy. counts: (K, K), rows are the true classes."""
    return counts.diagonal().sum().item() / max(int(counts.sum()), 1)


def ranked(counts: Tensor) -> tuple[list[int], list[float]]:
    """The classes that have images, by decreasing recall, and each class's recall (NaN if it has no images).

    >>> ranked(torch.tensor([[1, 1, 0], [0, 3, 0], [0, 0, 0]]))
    ([1, 0], [0.5, 1.0, nan])
    """
    recalls = (counts.diagonal() / counts.sum(1)).tolist()
    present = [k for k, num in enumerate(counts.sum(1).tolist()) if num]
    return sorted(present, key=lambda k: -recalls[k]), recalls
